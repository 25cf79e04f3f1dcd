package flow

import (
	"testing"
	"time"
)

// TestWindow: the windows of all connections together do not exceed the memory, and each is large
// enough to make progress.
func TestWindow(t *testing.T) {
	const (
		rate   = 4 << 20 // bytes in windowTime
		memory = 14 << 20
	)
	for _, tt := range []struct {
		name       string
		live       int64
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
			share := memory / tt.live
			var w window
			w.update(0, time.Time{}, share)
			if w.size > max(ampleWindow, share) {
				t.Errorf("initial size %d", w.size)
			}
			now := time.Unix(0, 0)
			for range 3 {
				now = now.Add(windowTime)
				w.update(tt.rate, now, share)
			}
			if w.size != tt.size {
				t.Errorf("got %d bytes, want %d", w.size, tt.size)
			}
		})
	}
}

// TestWindowUnsent: TCP_NOTSENT_LOWAT is small for a slow client, unlimited for a fast client, and
// the window if only the share limits it.
func TestWindowUnsent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		acked int64 // in windowTime
		share int64
		want  int
	}{
		{"slow", 1000, 1 << 30, MinUnsent},
		{"fast", 1 << 20, 1 << 30, 0},
		{"fast, limited by the share", 1 << 20, 256 << 10, 256 << 10},
		{"fast, small share", 1 << 20, 0, minWindow + fastWindow},
		{"slow, small share", 1000, 0, MinUnsent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w window
			w.update(tt.acked, time.Unix(0, 0), tt.share)
			if got := w.unsent(); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// TestWindowForgetsOldRate: the bytes of an interval count until one second after its end.
func TestWindowForgetsOldRate(t *testing.T) {
	var w window
	now := time.Unix(0, 0)
	for i, tt := range []struct {
		pass  time.Duration
		acked int64
		want  int64
	}{
		{0, 1000, 1000},
		{windowTime - 1, 1000, 2000},
		{1, 500, 2500},
		{windowTime, 0, 500},
		{windowTime, 0, 0},
		{0, 700, 700},
		{2 * windowTime, 0, 0},
	} {
		now = now.Add(tt.pass)
		w.update(tt.acked, now, 1<<30)
		if got := w.size - ampleWindow; got != tt.want {
			t.Errorf("step %d: got %d bytes of the last second, want %d", i, got, tt.want)
		}
	}
}
