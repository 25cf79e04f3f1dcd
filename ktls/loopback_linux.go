package ktls

import (
	"context"
	"errors"
	"net"
)

// listenLoopback listens on the loopback interface, IPv4 or else IPv6, for plain TCP. Go
// listens for MPTCP by default, and an MPTCP socket does not support kernel TLS.
func listenLoopback(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		var err6 error
		if l, err6 = lc.Listen(ctx, "tcp", "[::1]:0"); err6 != nil {
			return nil, errors.Join(err, err6)
		}
	}
	return l, nil
}

// loopback returns the two ends of a new TCP connection of this program over the loopback
// interface.
func loopback(ctx context.Context) (in, out *net.TCPConn, err error) {
	l, err := listenLoopback(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := l.(*net.TCPListener).SetDeadline(deadline); err != nil {
			return nil, nil, err
		}
	}
	var d net.Dialer
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	for {
		s, err := l.Accept()
		if err != nil {
			c.Close()
			return nil, nil, err
		}
		if s.RemoteAddr().String() == c.LocalAddr().String() {
			return c.(*net.TCPConn), s.(*net.TCPConn), nil
		}
		s.Close() // another program connected first
	}
}
