package server

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// TestTCPEndsNoSlowConnection: TCP is not told to end connections. It would end those that make
// progress over a link that loses packets, too: see progressInterval.
func TestTCPEndsNoSlowConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := newTCPSocket(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	if got, err := unix.GetsockoptInt(int(f.Fd()), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || got != 0 {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, %v, want 0", got, err)
	}
}

// TestTCPTimeoutIsLoggedAsStall: a connection that TCP has ended for stall_timeout is logged as
// stalled, not as ended by the client.
func TestTCPTimeoutIsLoggedAsStall(t *testing.T) {
	c := newConn(driveSettings(hello), &scriptedSocket{err: unix.ETIMEDOUT}, endpoint{}, nil)
	c.exchange.response = http1.NewResponse(false)
	var reasons logLines
	c.gen.log = reasons.logger()
	c.gen.access = true
	c.fail(unix.ETIMEDOUT)
	if c.clientLeft || !reasons.has("level=WARN", stalledReason) {
		t.Errorf("left by the client %v, logged %q", c.clientLeft, reasons.String())
	}
}
