package server

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/http1"
)

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

// TestEnded: a connection has not ended while the client has not acknowledged everything, also if its
// FIN has arrived.
func TestEnded(t *testing.T) {
	ln := newTestListener(t, listenBare(t, "tcp4", "127.0.0.1:0"))
	c, err := net.Dial("tcp", ln.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := newTCPSocket(acceptBare(t, ln))
	sent := 0
	for { // more than the client's buffer holds
		n, err := unix.SendmsgN(s.fd, make([]byte, 64<<10), nil, nil, unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		sent += n
	}
	expect := func(when string, want bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); s.Ended() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: ended %v, want %v", when, !want, want)
			}
		}
	}
	expect("before the close", false)
	if err := errors.Join(s.Shutdown(), c.(*net.TCPConn).CloseWrite()); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(s.fd, make([]byte, 1)); n != 0 || err != nil {
		t.Fatalf("read %d bytes, %v; want the FIN", n, err)
	}
	expect("with unacknowledged data", false)
	if n, err := io.Copy(io.Discard, c); int(n) != sent || err != nil {
		t.Fatalf("received %d bytes, %v; want %d", n, err, sent)
	}
	expect("with everything acknowledged", true)
}

// TestEarlyFINIsNoEnd: after the FIN of a client that has not acknowledged everything, the
// connection stays open until it has.
func TestEarlyFINIsNoEnd(t *testing.T) {
	sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1000}}
	c := newConn(driveSettings(hello), sock, endpoint{}, nil)
	now := time.Unix(1e9, 0)
	if op := c.shutdown(now); op.kind != opRecv || op.deadline.IsZero() {
		t.Fatalf("after the FIN: operation %d until %v", op.kind, op.deadline)
	}
	if op := c.step(event{now: now}); op.kind != opWait {
		t.Fatalf("after the client's FIN, with 1000 bytes unacknowledged: operation %d, want a wait", op.kind)
	}
	sock.reading.Unacked = 0
	if op := c.step(event{late: true, now: now}); op.kind != opClose {
		t.Fatalf("after the acknowledgement: operation %d, want the close", op.kind)
	}
}
