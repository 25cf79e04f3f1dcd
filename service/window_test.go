package service

import (
	"testing"
	"time"
)

// TestWindow: however fast all clients are, together they have no more than the
// memory that there is, unless each would have next to nothing.
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
		{"500, slow", 500, 1000, memory / 500},
		{"1,000, slow", 1000, 1000, minWindow + 500},
		{"1,000, faster", 1000, 40000, minWindow + 20000},
		{"1,000, one of them fast", 1000, rate, minWindow + fastWindow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &loop{Server: &Server{settings: settings{memory: memory}}}
			for range tt.live + 1 {
				l.count(1)
			}
			l.count(-1)
			c := newConn(&l.settings, nil, "", nil)
			if c.window.size > max(ampleWindow, memory/int64(tt.live)) {
				t.Errorf("begins with %d", c.window.size)
			}
			now := time.Unix(0, 0)
			for range 3 {
				now = now.Add(windowTime)
				c.window.move(tt.rate, now, l.share)
			}
			if c.window.size != tt.size {
				t.Errorf("%d bytes, want %d", c.window.size, tt.size)
			}
		})
	}
}
