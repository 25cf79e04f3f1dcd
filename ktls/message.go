//go:build linux

package ktls

import (
	"crypto/tls"
	"fmt"
)

// Content types, RFC 8446 section 5.1.
const (
	recordAlert           = 21
	recordHandshake       = 22
	recordApplicationData = 23
)

// Handshake message types, RFC 8446 section 4.
const (
	handshakeServerHello      = 2
	handshakeNewSessionTicket = 4
	handshakeKeyUpdate        = 24
)

// A Message is what a record holds that is not application data.
type Message struct {
	Type    byte // ContentType, RFC 8446 section 5.1
	Payload []byte
}

// Control returns the control message that has the kernel make a record of m's
// type of the payload: give both to sendmsg(2), on a socket whose sending side is
// in the kernel.
func (m Message) Control() []byte { return controlMessage(m.Type) }

// CloseNotify is the alert that ends what is sent: RFC 8446 section 6.1.
func CloseNotify() Message {
	const alertWarning, closeNotify = 1, 0
	return Message{recordAlert, []byte{alertWarning, closeNotify}}
}

// IsAlert tells whether m is an alert: RFC 8446 section 6. Nothing may be sent
// after it.
func (m Message) IsAlert() bool { return m.Type == recordAlert && len(m.Payload) == 2 }

// IsKeyUpdate tells whether m announces new sending keys: RFC 8446 section 4.6.3.
func (m Message) IsKeyUpdate() bool {
	return m.Type == recordHandshake && len(m.Payload) == 5 && m.Payload[0] == handshakeKeyUpdate
}

// isTicket tells whether m is, or begins, a new session ticket: RFC 8446 section
// 4.6.1. The ticket itself has less than 64 KiB, and may need several records.
func (m Message) isTicket() bool {
	const header, maxContent = 4, 16 << 10
	p := m.Payload
	if m.Type != recordHandshake || len(p) < header || p[0] != handshakeNewSessionTicket {
		return false
	}
	n := header + (int(p[1])<<16 | int(p[2])<<8 | int(p[3]))
	return n == len(p) || len(p) == maxContent && n > maxContent && n < 128<<10
}

func (m Message) String() string {
	switch {
	case m.IsAlert():
		return tls.AlertError(m.Payload[1]).Error()
	case m.IsKeyUpdate():
		return "KeyUpdate"
	}
	return fmt.Sprintf("%d bytes of content type %d", len(m.Payload), m.Type)
}
