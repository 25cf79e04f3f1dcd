package server

import (
	"testing"
	"time"

	"uringhttpd/service/flow"
)

// newShareLoop returns a loop with memory for all connections and a buffer for each.
func newShareLoop(memory, buffer int64) *loop {
	return &loop{Server: &Server{gen: &generation{buffer: buffer}, proc: &process{}}, state: &loopState{memory: memory}}
}

// TestShareOfMemory: each connection may use an equal part of the memory, and a new connection
// begins with it.
func TestShareOfMemory(t *testing.T) {
	const memory = 14 << 20
	l := newShareLoop(memory, 1<<40)
	for n := int64(1); n <= 500; n++ {
		l.countLive(1)
		if l.state.share != memory/n {
			t.Fatalf("with %d connections: a share of %d, want %d", n, l.state.share, memory/n)
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
