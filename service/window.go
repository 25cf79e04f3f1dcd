package service

import "time"

// A client that takes nothing has its connection hold what it was given. So that many
// of them leave something to others, in TCP's memory above all (net.ipv4.tcp_mem is
// some 40 MiB on a board of 512 MiB), each is given what it takes, and twice that, to
// find out whether it takes more; at first a record and a half. With two, a thousand clients
// that read 1 KiB a second took all of TCP's memory on such a board.
const (
	minWindow  = maxRecord * 3 / 2
	windowTime = 500 * time.Millisecond
	// Of the window, TCP holds so much that it could not send yet, about: it takes
	// more when it is below, and poll(2) tells when it is below a half.
	minUnsent = maxRecord
	maxUnsent = 128 << 10
)

// A window is what the kernel may hold for a client, by what it acknowledged in the
// last half to one second.
type window struct {
	size         int64
	since        time.Time
	last, before int64 // acknowledged since then, and in the time before
}

// move takes that n more bytes have been acknowledged.
func (w *window) move(n int64, now time.Time) {
	if passed := now.Sub(w.since); passed >= windowTime {
		w.before = w.last
		if passed >= 2*windowTime { // it is long ago
			w.before = 0
		}
		w.since, w.last = now, 0
	}
	w.last += n
	w.size = minWindow + 2*(w.last+w.before)
}

// step is how much must have become free before more is given. Less would cost more
// than it brings.
// Invariant: it is free when there is nothing but an open record, which with MSG_MORE
// leaves only when more comes: size - maxRecord >= size / 3.
func (w *window) step() int64 { return min(chunk, w.size/3) }

// unsent is how much of it may be waiting to be sent.
func (w *window) unsent() int {
	if w.size >= 2*maxUnsent {
		return maxUnsent
	}
	return minUnsent
}
