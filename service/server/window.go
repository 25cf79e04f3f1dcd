package server

import (
	"math"
	"time"
)

// A client that takes nothing has its connection hold what it was given. So that many
// of them leave something to others, in TCP's memory above all (net.ipv4.tcp_mem is
// some 40 MiB on a board of 512 MiB), what was not sent yet is bounded: by what the
// client takes, and by a share of that memory. Where the share is next to nothing a
// connection still has enough to go on, and more if its client is fast.
const (
	// step is what must have become free before more is given.
	step = maxRecord / 2
	// minWindow lets a connection have a record, and the next begun when poll(2) tells
	// that there is room, which is when half of minUnsent is left.
	minWindow = maxRecord + step
	minUnsent = maxRecord // what TCP may take that it cannot send, about
	// ampleWindow is where a connection begins that has memory enough.
	ampleWindow = chunk
	// fastWindow is where TCP is no longer bound by minUnsent. It is also the most that a
	// fast client adds to minWindow where the share is less: more than half a mebibyte in
	// windowTime, which not many can take at a time from one network.
	fastWindow = 128 << 10

	windowTime = 500 * time.Millisecond
)

// A window is what the kernel may hold for a client that is not sent yet, by what it
// acknowledged in the last half to one second.
type window struct {
	size         int64
	bound        bool // by the share, not by what the client takes
	since        time.Time
	last, before int64 // acknowledged since then, and in the time before
}

// move takes that n more bytes have been acknowledged, and how many bytes are the
// connection's share.
func (w *window) move(n int64, now time.Time, share int64) {
	if passed := now.Sub(w.since); passed >= windowTime {
		w.before = w.last
		if passed >= 2*windowTime { // it is long ago
			w.before = 0
		}
		w.since, w.last = now, 0
	}
	w.last += n
	recent := w.last + w.before
	w.size = max(minWindow+min(recent/4, fastWindow), min(ampleWindow+recent, share))
	w.bound = w.size < ampleWindow+recent
}

// unsent is what TCP is told of it; 0 is no bound.
func (w *window) unsent() int {
	switch {
	case w.size < fastWindow:
		return minUnsent
	case w.bound: // so that poll(2) tells when half of it is left
		return int(min(w.size, math.MaxInt32))
	}
	return 0
}
