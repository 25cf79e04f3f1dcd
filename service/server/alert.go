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

// badRecordMAC is what a client says of a record that it cannot open (RFC 8446
// section 6.2). When a crypto engine computes wrong records, nothing else tells.
const badRecordMAC = tls.AlertError(20)

// maxHeard is how many bytes are opened for the sake of an alert, once nothing else
// that the client says matters.
const maxHeard = 32 << 10

// heed looks at why the client's side of a TLS connection has ended, and logs what
// whoever runs the service must know.
func (c *conn) heed(err error) {
	c.alerts.done = true
	var op *net.OpError
	if !isRemoteAlert(err) || !errors.As(err, &op) || op.Err.Error() != badRecordMAC.Error() {
		return
	}
	c.proc.counters.badRecords.Add(1)
	c.loop.logLimited(c.gen.log, lineRecord, slog.LevelWarn, "the client could not open a record: who encrypts, or the network, has corrupted it",
		slog.Any("remote", c.client.peer), slog.String("cipher", tls.CipherSuiteName(c.session.State().CipherSuite)),
		slog.String("transport", c.transport.String()), slog.String("driver", c.encryptsBy()))
}

// encryptsBy names who makes the connection's records.
func (c *conn) encryptsBy() string {
	if c.transport != kernel {
		return "crypto/tls"
	}
	return c.driver.Name
}

// hear opens what the client says after its last request that matters.
func (c *conn) hear(input []byte) {
	if c.session == nil || c.transport == unknown || c.alerts.done {
		return
	}
	if c.alerts.bytes += len(input); c.alerts.bytes > maxHeard {
		c.alerts.done = true
		return
	}
	c.session.Feed(input)
	for data := make([]byte, 1<<10); ; {
		switch _, err := c.session.Read(data); {
		case err == ktls.ErrWouldBlock:
			return
		case err != nil:
			c.heed(err)
			return
		}
	}
}

// overhear takes what a client says while a response is sent to it: an alert ends that. Requests
// that it sends ahead stay in c.input.buf, as far as there is room. received is what TCP has received;
// ended is true if op ends the connection.
func (c *conn) overhear(received int64) (op operation, ended bool) {
	if c.session == nil || c.transport == unknown || c.alerts.done {
		return operation{}, false
	}
	n := c.sock.Received(c.input.wire)
	if c.input.received += int64(n); n == 0 { // a FIN: a client may close its side early
		c.input.received = received
		return operation{}, false
	}
	c.session.Feed(c.input.wire[:n])
	for len(c.input.buf) < http1.MaxHead {
		got, err := c.session.Read(c.spare())
		c.decrypted(got)
		switch {
		case err == ktls.ErrWouldBlock || err == io.EOF:
			return operation{}, false
		case isRemoteAlert(err):
			c.left = true
			c.heed(err)
			return c.reset(causeTLS, err.Error()), true
		case err != nil && c.transport == user: // crypto/tls makes no record any more
			return c.reset(causeTLS, err.Error()), true
		case err != nil: // the client broke TLS: it gets the alert behind the response
			c.input.received = math.MaxInt64
			return operation{}, false
		}
	}
	c.input.received = math.MaxInt64 // it is told to wait, by TCP
	return operation{}, false
}

// isRemoteAlert reports whether err is an alert of the client's.
func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// hearLast looks at what a client has said that may have left: its alert comes
// before its reset, and stays to be received.
func (c *conn) hearLast() {
	if c.session == nil || c.transport == unknown || c.alerts.done {
		return
	}
	c.hear(c.input.wire[:c.sock.Received(c.input.wire)])
	c.alerts.done = true
}
