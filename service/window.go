package service

import "time"

// A client that takes nothing has its connection hold what it was given. So that many
// of them leave something to others, in TCP's memory above all (net.ipv4.tcp_mem is
// some 40 MiB on a board of 512 MiB), what was not sent yet is bounded by what the
// client takes: in a crowd tightly, else so that nobody who is fast is held up.
const (
	manyConnections = 64 // more are a crowd

	// step is what must have become free before more is given.
	step = maxRecord / 2
	// minWindow lets a connection have a record, and the next begun when poll(2) tells
	// that there is room, which is when half of minUnsent is left.
	minWindow = maxRecord + step
	minUnsent = maxRecord // what TCP may take that it cannot send, about
	// ampleWindow is where a connection begins that is in no crowd.
	ampleWindow = chunk
	// fastWindow is where TCP is no longer bound by minUnsent.
	fastWindow = 128 << 10

	windowTime = 500 * time.Millisecond
)

// A window is what the kernel may hold for a client that is not sent yet, by what it
// acknowledged in the last half to one second.
type window struct {
	size         int64
	since        time.Time
	last, before int64 // acknowledged since then, and in the time before
}

// move takes that n more bytes have been acknowledged.
func (w *window) move(n int64, now time.Time, crowded bool) {
	if passed := now.Sub(w.since); passed >= windowTime {
		w.before = w.last
		if passed >= 2*windowTime { // it is long ago
			w.before = 0
		}
		w.since, w.last = now, 0
	}
	w.last += n
	if crowded {
		w.size = minWindow + (w.last+w.before)/4
	} else {
		w.size = ampleWindow + w.last + w.before
	}
}

// unsent is what TCP is told of it; 0 is no bound.
func (w *window) unsent() int {
	if w.size >= fastWindow {
		return 0
	}
	return minUnsent
}
