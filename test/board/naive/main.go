package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: naive ADDRESS FOLDER CERTIFICATE KEY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "naive:", err)
		os.Exit(1)
	}
}

func run(address, directory, certificate, key string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ktls.PreferTLS13(ktls.AESGCM)
	sessions := ktls.NewServer(&tls.Config{Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true})
	return http.Serve(&listener{Listener: l, sessions: sessions}, http.FileServer(http.Dir(directory)))
}

type listener struct {
	net.Listener
	sessions *ktls.Server
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s, err := l.sessions.Session()
	if err != nil {
		return nil, err
	}
	return &conn{TCPConn: c.(*net.TCPConn), session: s}, nil
}

// A conn reads TLS in user space and writes to kernel TLS; ReadFrom is that of TCPConn.
type conn struct {
	*net.TCPConn
	session *ktls.Session
	mu      sync.Mutex // Close may be called while a Read waits
	ready   bool       // the kernel has the keys
	closed  bool
}

func (c *conn) Read(p []byte) (int, error) {
	buf := make([]byte, 4096)
	for {
		c.mu.Lock()
		n, err := 0, ktls.ErrWouldBlock
		switch {
		case c.closed:
			err = net.ErrClosed
		case c.ready:
			n, err = c.session.Read(p)
		}
		c.mu.Unlock()
		if n > 0 || err != nil && err != ktls.ErrWouldBlock {
			return n, err
		}
		n, err = c.TCPConn.Read(buf)
		if err != nil {
			return 0, err
		}
		if err := c.feed(buf[:n]); err != nil {
			return 0, err
		}
	}
}

// feed reads the client's data, and installs the keys in the kernel once the handshake is
// done.
func (c *conn) feed(input []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case c.ready:
		c.session.Feed(input)
		return nil
	}
	done, err := c.session.Handshake(input)
	if _, werr := c.TCPConn.Write(c.session.Output()); err == nil {
		err = werr
	}
	if err != nil || !done {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { _, err = c.session.Offload(ktls.FD(fd)) })
	c.ready = err == nil && cerr == nil
	return errors.Join(err, cerr)
}

// Close sends close_notify. The socket is non-blocking, so the write only queues the alert.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if c.ready {
		m := ktls.CloseNotify()
		if raw, err := c.SyscallConn(); err == nil {
			raw.Write(func(fd uintptr) bool {
				return unix.Sendmsg(int(fd), m.Payload, m.Control(), nil, unix.MSG_DONTWAIT) != unix.EAGAIN
			})
		}
	}
	c.session.Close()
	return errors.Join(c.TCPConn.CloseWrite(), c.TCPConn.Close())
}

var _ io.ReaderFrom = (*conn)(nil)
