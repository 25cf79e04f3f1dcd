package client

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"

	"uringhttpd/test/rawtls"
)

// A rawConn is a TLS connection that changes its keys on request. As with crypto/tls, io.EOF
// means close_notify.
type rawConn struct {
	net.Conn
	raw  *rawtls.Client
	rest []byte
	err  error
}

func (c *rawConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		contentType, content, err := c.raw.Read()
		switch {
		case err == io.EOF:
			c.err = io.ErrUnexpectedEOF
		case err != nil:
			c.err = err
		case contentType == rawtls.ApplicationData:
			c.rest = content
		case contentType == rawtls.Alert && len(content) == 2 && content[1] == rawtls.CloseNotify:
			c.err = io.EOF
		case contentType == rawtls.Alert && len(content) == 2:
			c.err = fmt.Errorf("remote error: %w", tls.AlertError(content[1]))
		case contentType != rawtls.Handshake: // a ticket, or new keys
			c.err = fmt.Errorf("client: content type %d, %d bytes", contentType, len(content))
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *rawConn) Write(p []byte) (int, error) {
	if _, err := c.Conn.Write(c.raw.Seal(rawtls.ApplicationData, p, 0)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// update sends a key update, and requests one of the server if requested is set.
func (c *rawConn) update(requested bool) error {
	_, err := c.Conn.Write(c.raw.KeyUpdate(requested))
	return err
}
