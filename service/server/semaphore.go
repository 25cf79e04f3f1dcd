package server

import (
	"slices"
	"time"
)

// fillQueueTime is the maximum wait for the semaphore. While hanging storage holds all of it,
// files in the page cache are copied instead of spliced.
const fillQueueTime = time.Second

// A semaphore limits the number of operations of a kind in the ring. Further operations wait
// in order of arrival.
type semaphore struct {
	free    int
	waiting []waiter
}

// A waiter is an operation that has not begun.
type waiter struct {
	slot *slot
	op   operation
}

// acquireFill acquires the semaphore and begins op, or queues op for at most fillQueueTime, after which
// the connection's event is late. An op that is not patient is not queued: its event is busy.
func (l *loop) acquireFill(s *slot, op operation) {
	t := &l.fills
	if t.free == 0 && !op.patient {
		l.perform(s, s.conn.step(event{busy: true, now: l.now}))
		return
	}
	if t.free == 0 {
		l.setOwner(s, ownerFillQueue)
		t.waiting = append(t.waiting, waiter{s, op})
		l.deadlines.set(s, l.now.Add(fillQueueTime))
		return
	}
	t.free--
	l.beginFill(s, op)
}

// releaseFill releases the semaphore after an operation has ended, in favor of the first waiter.
func (l *loop) releaseFill() {
	t := &l.fills
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	next := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	l.beginFill(next.slot, next.op)
}

// leaveQueue removes a connection from the queue that it waits in, if it does.
func (l *loop) leaveQueue(s *slot) {
	switch s.owner {
	case ownerFillQueue:
		l.fills.waiting = slices.DeleteFunc(l.fills.waiting, func(w waiter) bool { return w.slot == s })
	case ownerEngineQueue:
		l.engine.queue = slices.DeleteFunc(l.engine.queue, func(w *slot) bool { return w == s })
	default:
		return
	}
	l.setOwner(s, ownerNone)
}
