package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Some log lines can be caused by any client, at any rate. The first line of a kind is
// written at once, and after that one line a minute, with the number of suppressed lines, so
// that a client cannot fill the journal or hide other lines in it. Metrics count every event,
// and with log.level debug all lines are written.

// A lineKind is a kind of log line that clients can cause.
type lineKind uint8

const (
	lineAccept    lineKind = iota // a connection cannot be accepted
	lineRecord                    // a client rejects a record (alert.go)
	lineCutOff                    // a response is cut off because its client acknowledges no data
	lineHandshake                 // a TLS handshake fails
	lineKinds
)

// lineInterval is the time between two lines of a kind.
const lineInterval = time.Minute

// repeats holds the state of each kind. Only the loop uses it.
type repeats [lineKinds]repeat

type repeat struct {
	open  bool // a line was written less than lineInterval ago
	until time.Time
	left  int // lines suppressed since then
	level slog.Level
	text  string // of the last suppressed line
	attrs []slog.Attr
}

// logLimited writes a line of a kind, or counts it and writes it at level debug only.
func (s *loopState) logLimited(log *slog.Logger, kind lineKind, level slog.Level, text string, attrs ...slog.Attr) {
	r := &s.repeats[kind]
	if r.open {
		log.LogAttrs(context.Background(), slog.LevelDebug, text, attrs...)
		r.left++
		r.level, r.text, r.attrs = level, text, attrs
		return
	}
	r.open = true
	log.LogAttrs(context.Background(), level, text, attrs...)
}

// logRepeated writes the last suppressed line of each kind, with the number of suppressed
// lines, after lineInterval.
func (l *loop) logRepeated() {
	for i := range l.state.repeats {
		switch r := &l.state.repeats[i]; {
		case !r.open:
			continue
		case r.until.IsZero():
		case l.now.Before(r.until):
			continue
		case r.left == 0:
			*r = repeat{}
			continue
		default:
			l.gen.log.LogAttrs(context.Background(), r.level, r.text, append(r.attrs, slog.Int("repeated", r.left))...)
			*r = repeat{open: true}
		}
		l.state.repeats[i].until = l.now.Add(lineInterval)
		l.deadlines.set(&slot{place: -1}, l.state.repeats[i].until) // to wake the loop then
	}
}

// handshakeFailures are the reasons of failed TLS handshakes that metrics distinguish. The
// last entry stands for all other reasons.
var handshakeFailures = [...]string{
	"no_client_certificate", "client_certificate", "version", "cipher", "alpn", "not_tls", "client_alert", "timeout", "left", "other",
}

// handshakeFailure returns the index in handshakeFailures for an error of crypto/tls. Most of
// these errors have no type, so their texts are matched: those of handshake_server.go,
// handshake_server_tls13.go and conn.go in crypto/tls.
func handshakeFailure(err error) int {
	var header tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var remote *net.OpError
	text := err.Error()
	name := "other"
	switch {
	case errors.As(err, &header):
		name = "not_tls"
	case errors.As(err, &certificate):
		name = "client_certificate"
	case errors.As(err, &remote) && remote.Op == "remote error":
		name = "client_alert"
	case strings.Contains(text, "didn't provide a certificate"):
		name = "no_client_certificate"
	case strings.Contains(text, "client certificate") || strings.Contains(text, "client's certificate"):
		name = "client_certificate"
	case strings.Contains(text, "unsupported versions"):
		name = "version"
	case strings.Contains(text, "application protocol"):
		name = "alpn"
	case strings.Contains(text, "cipher suite") || strings.Contains(text, "curve") || strings.Contains(text, "signature algorithm"):
		name = "cipher"
	}
	return failureIndex(name)
}

func failureIndex(name string) int {
	for i, n := range handshakeFailures {
		if n == name {
			return i
		}
	}
	return len(handshakeFailures) - 1
}

// handshakeFailed logs and counts a handshake that failed with an error of crypto/tls.
func (c *conn) handshakeFailed(err error) {
	c.proc.counters.handshakes[handshakeFailure(err)].Add(1)
	c.loop.logLimited(c.gen.log, lineHandshake, slog.LevelInfo, "TLS handshake failed", slog.Any("remote", c.client.peer), slog.Any("reason", err))
}

// handshakeEnded resets a connection whose handshake did not complete, and counts the reason.
func (c *conn) handshakeEnded(name, reason string) operation {
	c.proc.counters.handshakes[failureIndex(name)].Add(1)
	return c.reset(causeHandshake, reason)
}
