package server

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
)

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

// handshakeAborted resets a connection whose handshake did not complete, and counts the reason.
func (c *conn) handshakeAborted(name, reason string) operation {
	c.proc.counters.handshakes[failureIndex(name)].Add(1)
	return c.reset(causeHandshake, reason)
}
