package server

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/flow"
)

// families are the addresses of the listeners of these tests.
var families = []struct{ name, network, address string }{
	{"IPv4", "tcp4", "127.0.0.1:0"},
	{"IPv6", "tcp6", "[::1]:0"},
}

// listenBare returns a listening socket as net.Listen makes it.
func listenBare(t *testing.T, network, address string) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func newTestListener(t *testing.T, l *net.TCPListener) *Listener {
	t.Helper()
	ln, err := Listen(l, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// connect makes a client connect to address.
func connect(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

// acceptBare accepts a connection, and sets no option.
func acceptBare(t *testing.T, ln *Listener) int {
	t.Helper()
	fd, _, err := unix.Accept4(ln.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// socketOptions are the options of a connection that matter here.
type socketOptions struct {
	linger      unix.Linger
	noDelay     bool
	notSent     int // bytes
	userTimeout int // ms
}

// optionsOf returns the options of a socket.
func optionsOf(t *testing.T, fd int) (o socketOptions) {
	t.Helper()
	get := func(option int) int {
		v, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, option)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	l, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil {
		t.Fatal(err)
	}
	o.linger = *l
	o.noDelay = get(unix.TCP_NODELAY) != 0
	o.notSent = get(unix.TCP_NOTSENT_LOWAT)
	o.userTimeout = get(unix.TCP_USER_TIMEOUT)
	return o
}

// wantOptions are the options of every connection. TCP is not told to end connections
// (TCP_USER_TIMEOUT). It would end those that make progress over a link that loses packets, too: see
// progressInterval.
var wantOptions = socketOptions{linger: unix.Linger{Onoff: 1}, noDelay: true, notSent: flow.MinUnsent}

// TestOptionsAreInherited: a connection has all options when accept(2) returns it.
func TestOptionsAreInherited(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			ln := newTestListener(t, listenBare(t, tt.network, tt.address))
			connect(t, ln.Addr)
			if got := optionsOf(t, acceptBare(t, ln)); got != wantOptions {
				t.Errorf("accepted with %+v, want %+v", got, wantOptions)
			}
		})
	}
}

// TestQueuedConnectionsArePrepared: connections that were in the listener's queue before it had the
// options, as with socket activation, get them one by one, until the queue was empty after settleTime.
func TestQueuedConnectionsArePrepared(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			l := listenBare(t, tt.network, tt.address)
			connect(t, l.Addr().String())
			connect(t, l.Addr().String())
			ln := newTestListener(t, l)
			for i, want := range []bool{false, true, true} {
				if i == 2 {
					connect(t, ln.Addr)
				}
				ln.preparedAt = time.Now().Add(-settleTime)
				fd := acceptBare(t, ln)
				if err := ln.prepareAccepted(fd); err != nil {
					t.Fatal(err)
				}
				if got := optionsOf(t, fd); got != wantOptions {
					t.Errorf("connection %d: %+v, want %+v", i, got, wantOptions)
				}
				if ln.inherited != want {
					t.Errorf("after connection %d: options inherited %v, want %v", i, ln.inherited, want)
				}
			}
		})
	}
}

// TestQueueIsNotEmptyAtOnce: a connection may enter the listener's queue a little after its creation.
func TestQueueIsNotEmptyAtOnce(t *testing.T) {
	ln := newTestListener(t, listenBare(t, "tcp4", "127.0.0.1:0"))
	ln.preparedAt = time.Now().Add(time.Hour)
	connect(t, ln.Addr)
	if err := ln.prepareAccepted(acceptBare(t, ln)); err != nil || ln.inherited {
		t.Errorf("before settleTime: options inherited %v, %v", ln.inherited, err)
	}
}

// TestAcceptedMeter: the meter of an accepted connection begins with the values that the kernel
// reports.
func TestAcceptedMeter(t *testing.T) {
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			ln := newTestListener(t, listenBare(t, tt.network, tt.address))
			connect(t, ln.Addr)
			fd := acceptBare(t, ln)
			got, err := ktls.NewAcceptedMeter(ktls.FD(fd)).Read()
			if want := (ktls.Reading{}); err != nil || got != want {
				t.Errorf("the kernel reports %+v, %v; want %+v", got, err, want)
			}
			n, err := unix.Write(fd, make([]byte, 1000))
			if err != nil || n != 1000 {
				t.Fatal(n, err)
			}
			m := ktls.NewAcceptedMeter(ktls.FD(fd))
			m.Sent(1000)
			if got, err := m.Read(); err != nil || got.Pending != 0 || got.Acked+got.Unacked != 1000 {
				t.Errorf("after 1000 bytes: %+v, %v; want 0 pending", got, err)
			}
		})
	}
}
