package service

import (
	"crypto/tls"
	"errors"
	"net"

	"uringhttpd/ktls"
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
	c.deaf = true
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err.Error() != badRecordMAC.Error() {
		return
	}
	c.log.Warn("the client could not open a record: who encrypts, or the network, has corrupted it", "remote", c.remote,
		"cipher", tls.CipherSuiteName(c.session.State().CipherSuite), "transport", c.transport.String(), "driver", c.encryptsBy())
}

// encryptsBy names who makes the connection's records.
func (c *conn) encryptsBy() string {
	if c.transport != kernel {
		return "crypto/tls"
	}
	return c.by.Driver
}

// hear opens what the client says after its last request that matters.
func (c *conn) hear(input []byte) {
	if c.session == nil || c.transport == unknown || c.deaf {
		return
	}
	if c.heard += len(input); c.heard > maxHeard {
		c.deaf = true
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

// hearLast looks at what a client has said that may have left: its alert comes
// before its reset, and stays to be received.
func (c *conn) hearLast() {
	if c.session == nil || c.transport == unknown || c.deaf {
		return
	}
	c.hear(c.wire[:c.sock.Received(c.wire)])
	c.deaf = true
}
