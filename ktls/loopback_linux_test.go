package ktls

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLoopbackIsPlainTCP: the listener and both ends of a loopback connection are sockets of plain
// TCP, also where GODEBUG makes MPTCP the default.
func TestLoopbackIsPlainTCP(t *testing.T) {
	t.Setenv("GODEBUG", "multipathtcp=1")
	l, err := listenLoopback(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, b, err := loopback(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	for name, socket := range map[string]syscall.Conn{"the listener": l.(*net.TCPListener), "one end": a, "the other end": b} {
		raw, err := socket.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		protocol, operr := 0, error(nil)
		err = raw.Control(func(fd uintptr) {
			protocol, operr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
		})
		if err != nil || operr != nil || protocol != unix.IPPROTO_TCP {
			t.Errorf("%s: protocol %d, %v, %v, want %d", name, protocol, err, operr, unix.IPPROTO_TCP)
		}
	}
}
