// Package notify replaces systemd in tests of sd_notify(3). It only receives messages.
package notify

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

// Listen returns a socket, and sets NOTIFY_SOCKET to its path until the end of the test, also for child
// processes started meanwhile. Reads fail after one minute.
func Listen(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	socket.SetReadDeadline(time.Now().Add(time.Minute))
	t.Setenv("NOTIFY_SOCKET", path)
	return socket
}

// Receive returns the next message. It fails the test if there is none within the minute of Listen.
func Receive(t *testing.T, socket *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := socket.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
