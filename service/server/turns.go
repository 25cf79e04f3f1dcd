package server

import (
	"slices"
	"time"
)

// turnTime is the maximum wait for the semaphore. While hanging storage holds all of it,
// files in the page cache are copied instead of spliced.
const turnTime = time.Second

// turns is a semaphore: it limits the number of operations of a kind in the ring. Further
// operations wait in order of arrival.
type turns struct {
	free    int
	waiting []turn
}

type turn struct {
	slot *slot
	op   operation
}

// inTurn acquires the semaphore and begins op, or queues op for at most turnTime, after which
// the connection's event is late. An op that is not patient is not queued: its event is busy.
func (l *loop) inTurn(s *slot, op operation) {
	t := &l.fills
	if t.free == 0 && !op.patient {
		l.perform(s, s.conn.step(event{busy: true, now: l.now}))
		return
	}
	if t.free == 0 {
		l.setOwner(s, ownerReadQueue)
		t.waiting = append(t.waiting, turn{s, op})
		l.deadlines.set(s, l.now.Add(turnTime))
		return
	}
	t.free--
	l.beginRead(s, op)
}

// pass releases the semaphore after an operation has ended, in favor of the first waiter.
func (l *loop) pass() {
	t := &l.fills
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	next := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	l.beginRead(next.slot, next.op)
}

// withdraw removes a connection from the queue that it waits in, if it does.
func (l *loop) withdraw(s *slot) {
	switch s.owner {
	case ownerReadQueue:
		l.fills.waiting = slices.DeleteFunc(l.fills.waiting, func(w turn) bool { return w.slot == s })
	case ownerEngineQueue:
		l.engine.queue = slices.DeleteFunc(l.engine.queue, func(w *slot) bool { return w == s })
	default:
		return
	}
	l.setOwner(s, ownerNone)
}
