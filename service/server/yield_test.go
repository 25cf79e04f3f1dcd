package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

const shortGet = "GET / HTTP/1.1\r\nHost: b\r\n\r\n"

// request sends text on c, and returns the status of the answer.
func request(t *testing.T, c net.Conn, text string) int {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// TestIdleYields: at the limit the connection that has been idle longest ends, in order, for
// a client that comes; those that are busy or were idle for less time do not.
func TestIdleYields(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		ts := startServer(t, http.NotFoundHandler(), func(o *Options) {
			o.Connections = 3
			o.IdleTimeout, o.HeaderTimeout = time.Hour, time.Hour
		})
		busy, oldest, newer := ts.dial(t, withTLS), ts.dial(t, withTLS), ts.dial(t, withTLS)
		for _, c := range []net.Conn{busy, oldest, newer} {
			request(t, c, shortGet)
		}
		io.WriteString(busy, "GET / HTTP/1.1\r\n") // half a head
		for i, idle := range []net.Conn{oldest, newer} {
			if got := request(t, ts.dial(t, withTLS), shortGet); got != http.StatusNotFound {
				t.Errorf("tls %v, client %d above the limit: status %d", withTLS, i, got)
			}
			idle.SetDeadline(time.Now().Add(20 * time.Second))
			if n, err := idle.Read(make([]byte, 100)); n != 0 || err != io.EOF {
				t.Errorf("tls %v, idle connection %d: %d bytes, %v, want an end in order", withTLS, i, n, err)
			}
		}
		if got := request(t, busy, "Host: b\r\n\r\n"); got != http.StatusNotFound {
			t.Errorf("tls %v: status %d on the busy connection", withTLS, got)
		}
	}
}

// TestArrivedYields: a connection that only waits for its client to close does not keep
// another out.
func TestArrivedYields(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.Connections = 1 })
	for range 20 { // far below lingerTime each
		c := ts.dial(t, false)
		defer c.Close()
		if got := request(t, c, "GET / HTTP/1.0\r\n\r\n"); got != http.StatusNotFound {
			t.Fatalf("status %d", got)
		}
		if n, err := c.Read(make([]byte, 100)); n != 0 || err != io.EOF {
			t.Fatalf("%d bytes, %v, want FIN", n, err)
		}
	}
}
