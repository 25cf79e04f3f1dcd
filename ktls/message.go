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

// A Message is the content of a record that is not application data.
type Message struct {
	Type    byte // ContentType, RFC 8446 section 5.1
	Payload []byte
}

// Control returns the control message that makes the kernel give the record of the
// payload m's type. Pass both to sendmsg(2), on a socket whose sending side is in
// the kernel.
func (m Message) Control() []byte { return controlMessage(m.Type) }

// CloseNotify returns the alert that ends the data of a sender: RFC 8446 section 6.1.
func CloseNotify() Message {
	const alertWarning, closeNotify = 1, 0
	return Message{recordAlert, []byte{alertWarning, closeNotify}}
}

// IsAlert reports whether m is an alert: RFC 8446 section 6. No record may follow it.
func (m Message) IsAlert() bool { return m.Type == recordAlert && len(m.Payload) == 2 }

// IsKeyUpdate reports whether m announces new sending keys: RFC 8446 section 4.6.3.
func (m Message) IsKeyUpdate() bool {
	return m.Type == recordHandshake && len(m.Payload) == 5 && m.Payload[0] == handshakeKeyUpdate
}

// isTicket reports whether m is, or begins, a new session ticket: RFC 8446 section
// 4.6.1. The ticket has less than 64 KiB, and may span several records.
func (m Message) isTicket() bool {
	const header = 4
	p := m.Payload
	if m.Type != recordHandshake || len(p) < header || p[0] != handshakeNewSessionTicket {
		return false
	}
	n := header + (int(p[1])<<16 | int(p[2])<<8 | int(p[3]))
	return n == len(p) || len(p) == maxPlain && n > maxPlain && n < 128<<10
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
