package server

import (
	"testing"
	"time"
)

// newWindowLoop returns a loop with memory for all connections and a buffer for each.
func newWindowLoop(memory, buffer int64) *loop {
	return &loop{Server: &Server{gen: &generation{buffer: buffer}, proc: &process{}}, state: &loopState{memory: memory}}
}

// TestWindow: connections together have no more than the memory that there is, while the
// share of each is enough to go on with.
func TestWindow(t *testing.T) {
	const (
		rate   = 4 << 20 // bytes in windowTime
		memory = 14 << 20
	)
	for _, tt := range []struct {
		name       string
		live       int
		rate, size int64
	}{
		{"alone", 1, rate, ampleWindow + 2*rate},
		{"16", 16, rate, memory / 16},
		{"64", 64, rate, memory / 64},
		{"64, slow", 64, 1000, ampleWindow + 2000},
		{"200, fast", 200, rate, minWindow + fastWindow},
		{"500, slow", 500, 1000, memory / 500},
		{"1,000, slow", 1000, 1000, minWindow + 500},
		{"1,000, faster", 1000, 40000, minWindow + 20000},
		{"1,000, one of them fast", 1000, rate, minWindow + fastWindow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newWindowLoop(memory, 0)
			for range tt.live {
				l.count(1)
			}
			c := newConn(l.environment(), nil, endpoint{}, nil)
			if c.flow.window.size > max(ampleWindow, memory/int64(tt.live)) {
				t.Errorf("begins with %d", c.flow.window.size)
			}
			now := time.Unix(0, 0)
			for range 3 {
				now = now.Add(windowTime)
				c.flow.window.move(tt.rate, now, l.state.share)
			}
			if c.flow.window.size != tt.size {
				t.Errorf("%d bytes, want %d", c.flow.window.size, tt.size)
			}
		})
	}
}

// TestWindowMeasured: what the meter says and how many connections there are reach TCP.
func TestWindowMeasured(t *testing.T) {
	l := newWindowLoop(4<<20, 2<<20)
	sock := &scriptedSocket{unsent: minUnsent}
	l.count(1)
	c := newConn(l.environment(), sock, endpoint{}, nil)
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name         string
		live         int
		acked        int64 // from the reading before
		room, unsent int64
	}{
		{"slow", 0, 1000, ampleWindow + 1000, minUnsent},
		{"fast", 0, 512 << 10, ampleWindow + 512<<10 + 1000, 0},
		{"fast, of 16", 15, 512 << 10, 256 << 10, 256 << 10}, // poll(2) tells when half of it is left
		{"fast, of 100", 84, 512 << 10, minWindow + fastWindow, minWindow + fastWindow},
		{"slow, of 100", 0, 1000, 4 << 20 / 100, minUnsent},
	} {
		l.count(tt.live)
		now = now.Add(windowTime)
		if tt.name[:4] == "slow" {
			now = now.Add(windowTime)
		}
		sock.reading.Acked += tt.acked
		if _, _, ok := c.measure(now); !ok {
			t.Fatalf("%s: the connection is gone", tt.name)
		}
		if c.flow.room.all != tt.room || int64(sock.unsent) != tt.unsent {
			t.Errorf("%s: room for %d bytes, of them %d in TCP; want %d, %d", tt.name, c.flow.room.all, sock.unsent, tt.room, tt.unsent)
		}
	}
}
