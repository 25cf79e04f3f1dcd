package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/test/rawtls"
)

// dial connects, and makes the handshake if there is TLS. The kind names the step that failed.
func (w *worker) dial(ctx context.Context) (conn net.Conn, kind string, err error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		if w.o.ReceiveBuffer == 0 {
			return nil
		}
		var serr error
		err := raw.Control(func(fd uintptr) {
			serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, w.o.ReceiveBuffer)
		})
		return errors.Join(err, serr)
	}}
	if w.o.From != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(w.o.From)}
	}
	c, err := d.DialContext(ctx, "tcp", w.o.Address)
	if err != nil {
		return nil, "dial", err
	}
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, "dial", err
	}
	w.tcp = c.(*net.TCPConn)
	w.fin = &finConn{Conn: c}
	var inner net.Conn = w.fin
	if w.o.ReadSize > 0 {
		w.slow = &slowConn{Conn: inner, pause: w.o.Pause, ctx: ctx}
		inner = w.slow
	}
	if w.o.Leave != "" {
		w.leaving = &leavingConn{Conn: inner, tcp: w.tcp, how: w.o.Leave, left: w.leaveAfter()}
		inner = w.leaving
	}
	conn = inner
	if !w.o.Plain {
		if conn, err = w.handshake(ctx, inner); err != nil {
			c.Close()
			return nil, "handshake", err
		}
	}
	if w.slow != nil {
		w.slow.size = w.o.ReadSize
	}
	return conn, "", nil
}

// handshake makes a TLS connection over a TCP connection.
func (w *worker) handshake(ctx context.Context, conn net.Conn) (net.Conn, error) {
	cfg := w.o.tlsConfig()
	cfg.RootCAs = w.roots
	var suite uint16
	if w.o.Then == KeyUpdate || w.o.Then == KeyUpdateRequest {
		raw, err := rawtls.New(conn, cfg)
		if err != nil {
			return nil, err
		}
		suite, conn = raw.Suite, &rawConn{Conn: conn, raw: raw}
	} else {
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		suite, conn = t.ConnectionState().CipherSuite, t
	}
	if w.o.Suite != 0 && suite != w.o.agreed() {
		return nil, fmt.Errorf("the cipher suite is %s, want %s", tls.CipherSuiteName(suite), tls.CipherSuiteName(w.o.agreed()))
	}
	w.c.update(func(r *Result) { r.Suite = tls.CipherSuiteName(suite) })
	return conn, nil
}

// suites12 maps suites of TLS 1.3 to suites of TLS 1.2 for a server with an ECDSA key.
var suites12 = map[uint16]uint16{
	tls.TLS_AES_128_GCM_SHA256:       tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_AES_256_GCM_SHA384:       tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_CHACHA20_POLY1305_SHA256: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// agreed returns the suite that the handshake must agree on, in the version it uses.
func (o Options) agreed() uint16 {
	if o.TLS12 {
		return suites12[o.Suite]
	}
	return o.Suite
}

// agree checks that the options are compatible.
func (o Options) agree() error {
	raw := o.Then == KeyUpdate || o.Then == KeyUpdateRequest
	switch {
	case o.Suite != 0 && suites12[o.Suite] == 0:
		return fmt.Errorf("client: %s is not a suite of TLS 1.3", tls.CipherSuiteName(o.Suite))
	case raw && (o.TLS12 || o.Plain || o.Suite == tls.TLS_CHACHA20_POLY1305_SHA256):
		return errors.New("client: a key update needs TLS 1.3 with AES-GCM")
	case o.Then == CloseNotify && o.Plain:
		return errors.New("client: close_notify needs TLS")
	case o.Then != "" && o.KeepAlive, o.Pipeline > 1 && (o.KeepAlive || o.Then != "" || len(o.Also) > 0):
		return errors.New("client: these options cannot be used on one connection")
	case len(o.Also) > 0 && o.Length == 0:
		return errors.New("client: further ranges need a first one")
	}
	return nil
}

func (o Options) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		ServerName: o.Name,
		MinVersion: tls.VersionTLS13,
		// Any server supports it: a server in FIPS mode has no plain X25519. And small boards
		// compute it fast.
		CurvePreferences: []tls.CurveID{tls.CurveP256},
	}
	if o.TLS12 {
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	}
	if o.TLS12 && o.Suite != 0 {
		cfg.CipherSuites = []uint16{o.agreed()}
	}
	return cfg
}

// A slowConn reads a few bytes at most once per interval, or at full speed while size is 0.
type slowConn struct {
	net.Conn
	ctx   context.Context
	size  int
	pause time.Duration
	next  time.Time // time of the next read
}

func (c *slowConn) Read(p []byte) (int, error) {
	if wait := time.Until(c.next); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return 0, c.ctx.Err()
		}
	}
	if c.size == 0 {
		return c.Conn.Read(p)
	}
	c.next = time.Now().Add(c.pause)
	return c.Conn.Read(p[:min(len(p), c.size)])
}

// A finConn records whether the server's FIN was read.
type finConn struct {
	net.Conn
	fin bool
}

func (c *finConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.fin = c.fin || err == io.EOF
	return n, err
}
