package flow

import (
	"math"
	"time"
)

// A connection whose client does not read keeps the bytes passed to the kernel. So that many
// such connections leave memory for others, above all TCP's memory (net.ipv4.tcp_mem is
// some 40 MiB on a board with 512 MiB), unsent bytes are limited: by the rate at which the
// client acknowledges, and by a share of that memory. Even with a share of almost nothing a
// connection has enough to make progress, and more if its client is fast.
const (
	// MinUnsent is the number of unsent bytes that TCP may accept, approximately, of a connection
	// with a small window.
	MinUnsent = MaxRecord

	// minWindow allows a record, and the beginning of the next when poll(2) reports room, which
	// happens when half of MinUnsent is left.
	minWindow = MaxRecord + minPush
	// ampleWindow is the initial window of a connection if there is enough memory.
	ampleWindow = Chunk
	// fastWindow is the size from which on TCP is not limited by MinUnsent. It is also the most
	// that a fast client adds to minWindow if the share is smaller: more than half a mebibyte in
	// windowTime, a rate that few clients of a network can reach at the same time.
	fastWindow = 128 << 10

	windowTime = 500 * time.Millisecond
)

// A window is the number of unsent bytes that the kernel may hold for a client, derived from
// the bytes that it acknowledged in the last half to one second.
type window struct {
	size         int64
	bound        bool // limited by the share, not by the client's rate
	since        time.Time
	last, before int64 // bytes acknowledged since then, and in the interval before
}

// update adds n acknowledged bytes, and sets the connection's share in bytes.
func (w *window) update(n int64, now time.Time, share int64) {
	if passed := now.Sub(w.since); passed >= windowTime {
		w.before = w.last
		if passed >= 2*windowTime { // the last interval is too old
			w.before = 0
		}
		w.since, w.last = now, 0
	}
	w.last += n
	recent := w.last + w.before
	w.size = max(minWindow+min(recent/4, fastWindow), min(ampleWindow+recent, share))
	w.bound = w.size < ampleWindow+recent
}

// unsent returns the value for TCP_NOTSENT_LOWAT; 0: no limit.
func (w *window) unsent() int {
	switch {
	case w.size < fastWindow:
		return MinUnsent
	case w.bound: // so that poll(2) reports room when half of it is left
		return int(min(w.size, math.MaxInt32))
	}
	return 0
}
