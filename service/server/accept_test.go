package server

import (
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"uringhttpd/service/flow"
	"uringhttpd/uring"
)

// newShareLoop returns a loop with memory for all connections and a buffer for each.
func newShareLoop(memory, buffer int64) *loop {
	return &loop{Server: &Server{gen: &generation{buffer: buffer}, proc: &process{}}, shared: &loopState{memory: memory}}
}

// TestShareOfMemory: each connection may use an equal part of the memory, and a new connection
// begins with it.
func TestShareOfMemory(t *testing.T) {
	const memory = 14 << 20
	l := newShareLoop(memory, 1<<40)
	for n := int64(1); n <= 500; n++ {
		l.countLive(1)
		if l.shared.share != memory/n {
			t.Fatalf("with %d connections: a share of %d, want %d", n, l.shared.share, memory/n)
		}
		if n > 224 { // below that, a new connection's window is its ample size, not the share
			c := newConn(l.environment(), nil, endpoint{}, nil)
			if got := c.flow.Admit(1 << 40); got != memory/n {
				t.Fatalf("with %d connections: the first budget is %d, want %d", n, got, memory/n)
			}
		}
	}
}

// TestShareReachesTCP: the readings of the meter and the number of connections determine the
// budget and TCP_NOTSENT_LOWAT.
func TestShareReachesTCP(t *testing.T) {
	const (
		ample = 64 << 10  // the window without acknowledgements and with enough memory
		least = 24 << 10  // the window with a share of nothing
		fast  = 128 << 10 // the most that a fast client adds to least
	)
	l := newShareLoop(4<<20, 2<<20)
	sock := &scriptedSocket{unsent: flow.MinUnsent}
	l.countLive(1)
	c := newConn(l.environment(), sock, endpoint{}, nil)
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name           string
		live           int           // further connections
		wait           time.Duration // since the last reading
		acked          int64         // since the last reading
		budget, unsent int64
	}{
		{"slow", 0, time.Second, 1000, ample + 1000, flow.MinUnsent},
		{"fast", 0, time.Second / 2, 512 << 10, ample + 512<<10 + 1000, 0},
		{"fast, of 16", 15, time.Second / 2, 512 << 10, 256 << 10, 256 << 10}, // poll(2) reports room when half of it is left
		{"fast, of 100", 84, time.Second / 2, 512 << 10, least + fast, least + fast},
		{"slow, of 100", 0, time.Second, 1000, 4 << 20 / 100, flow.MinUnsent},
	} {
		l.countLive(tt.live)
		now = now.Add(tt.wait)
		sock.reading.Acked += tt.acked
		if _, _, ok := c.measure(now); !ok {
			t.Fatalf("%s: the connection is gone", tt.name)
		}
		if got := c.flow.Admit(1 << 40); got != tt.budget || int64(sock.unsent) != tt.unsent {
			t.Errorf("%s: budget %d, TCP_NOTSENT_LOWAT %d; want %d, %d", tt.name, got, sock.unsent, tt.budget, tt.unsent)
		}
	}
}

// TestAcceptPausesForQueuedHandshakes: while many handshakes are queued, the TLS listener accepts
// no client, and the plain one does.
func TestAcceptPausesForQueuedHandshakes(t *testing.T) {
	w := newWorld(&script{}, newSimIdentity(t))
	l := w.loop
	l.accepts = make([]uring.Handle, len(l.listeners))
	l.handshakes = maxHandshakes
	l.accept()
	if l.accepts[0] == 0 || l.accepts[1] != 0 {
		t.Errorf("accepts in the ring, by listener: %v; want the plain one's alone", l.accepts)
	}
	l.handshakes--
	if l.accept(); l.accepts[1] == 0 {
		t.Error("no accept when a handshake has ended")
	}
}

// TestClientAboveLimitWaits: above the limit a client waits while all others are busy, and is
// served when one has left.
func TestClientAboveLimitWaits(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.Connections = 2 })
	first, second, third := ts.dial(t, false), ts.dial(t, false), ts.dial(t, false)
	const request = "GET / HTTP/1.1\r\nHost: b\r\n\r\n"
	buf := make([]byte, 1000)
	for _, c := range []net.Conn{first, second} {
		io.WriteString(c, request+"GET / HTTP/1.1\r\n") // and half of another
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(third, request)
	third.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := third.Read(buf); !os.IsTimeout(err) {
		t.Errorf("the third of two connections was served: %q, %v", buf[:n], err)
	}
	first.Close()
	third.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := third.Read(buf); err != nil {
		t.Errorf("after another has left: %v", err)
	}
}

// TestLongestIdleConnectionYields: at the limit the connection that has been idle longest ends in
// order for a new client. Busy connections, and connections that were idle for less time, continue.
func TestLongestIdleConnectionYields(t *testing.T) {
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

// TestLingeringConnectionYields: a connection that only waits for its client to close does not keep
// another client out.
func TestLingeringConnectionYields(t *testing.T) {
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
