package server

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"

	"uringhttpd/ktls"
	"uringhttpd/service/http1"
)

// badRecordMAC is a client's alert for a record that it cannot decrypt (RFC 8446
// section 6.2). It is the only sign of a crypto engine that computes wrong records.
const badRecordMAC = tls.AlertError(20)

// maxAlertInput is the maximum number of bytes decrypted to find an alert, when nothing else
// from the client matters any more.
const maxAlertInput = 32 << 10

// logAlert checks the error that ended the client's side of a TLS connection, and logs an alert
// that the operator must know.
func (c *conn) logAlert(err error) {
	c.alerts.done = true
	var op *net.OpError
	if !isRemoteAlert(err) || !errors.As(err, &op) || op.Err.Error() != badRecordMAC.Error() {
		return
	}
	c.proc.counters.badRecords.Add(1)
	c.loop.logLimited(c.gen.log, lineRecord, slog.LevelWarn, "client reported bad_record_mac: record corrupted by the crypto driver or in transit",
		slog.Any("remote", c.client.peer), slog.String("cipher", tls.CipherSuiteName(c.session.State().CipherSuite)),
		slog.String("transport", c.transport.String()), slog.String("driver", c.driverName()))
}

// driverName returns the name of the driver that makes the connection's records.
func (c *conn) driverName() string {
	if c.transport != kernel {
		return "crypto/tls"
	}
	return c.driver.Name
}

// readAlerts decrypts input that the client sends after its last request, to find an alert.
func (c *conn) readAlerts(input []byte) {
	if c.session == nil || c.transport == unknown || c.alerts.done {
		return
	}
	if c.alerts.bytes += len(input); c.alerts.bytes > maxAlertInput {
		c.alerts.done = true
		return
	}
	c.session.Feed(input)
	for data := make([]byte, 1<<10); ; {
		switch _, err := c.session.Read(data); {
		case err == ktls.ErrWouldBlock:
			return
		case err != nil:
			c.logAlert(err)
			return
		}
	}
}

// readDuringResponse reads the client's input while a response is sent to it: an alert ends the
// response. Pipelined requests stay in c.input.buf, as far as there is room. received is the number
// of bytes that TCP has received; ended is true if op ends the connection.
func (c *conn) readDuringResponse(received int64) (op operation, ended bool) {
	if c.session == nil || c.transport == unknown || c.alerts.done {
		return operation{}, false
	}
	n := c.sock.Received(c.input.wire)
	if c.input.received += int64(n); n == 0 { // a FIN: a client may close its side early
		c.input.received = received
		return operation{}, false
	}
	c.session.Feed(c.input.wire[:n])
	c.loop.answers.updated = false // received after this wait of the loop
	for len(c.input.buf) < http1.MaxHead {
		got, err := c.session.Read(c.inputSpace())
		c.extendInput(got)
		switch {
		case err == ktls.ErrWouldBlock || err == io.EOF:
			return operation{}, false
		case isRemoteAlert(err):
			c.clientLeft = true
			c.logAlert(err)
			return c.reset(causeTLS, err.Error()), true
		case err != nil && c.transport == user: // crypto/tls makes no further records
			return c.reset(causeTLS, err.Error()), true
		case err != nil: // the client violated TLS: it gets the alert after the response
			c.input.received = math.MaxInt64
			return operation{}, false
		}
	}
	c.input.received = math.MaxInt64 // TCP's flow control makes the client wait
	return operation{}, false
}

// isRemoteAlert reports whether err is an alert from the client.
func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// readFinalAlert reads the final input of a client that may have left: its alert comes
// before its reset, and can still be received.
func (c *conn) readFinalAlert() {
	if c.session == nil || c.transport == unknown || c.alerts.done {
		return
	}
	c.readAlerts(c.input.wire[:c.sock.Received(c.input.wire)])
	c.alerts.done = true
}
