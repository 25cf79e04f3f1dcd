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
func (l *loop) inTurn(s *slot, op operation, t *turns) {
	if t.free == 0 && !op.patient {
		l.perform(s, s.conn.step(event{busy: true, now: l.now}))
		return
	}
	s.turns = t
	if t.free == 0 {
		t.waiting = append(t.waiting, turn{s, op})
		l.deadlines.set(s, l.now.Add(turnTime))
		return
	}
	t.free--
	l.beginRead(s, op)
}

// pass releases the semaphore after an operation has ended, in favor of the first waiter.
func (l *loop) pass(s *slot) {
	t := s.turns
	if t == nil {
		return
	}
	s.turns = nil
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	next := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	l.beginRead(next.slot, next.op)
}

// withdraw cancels a connection's wait for the semaphore, if there is one.
func (l *loop) withdraw(s *slot) {
	if t := s.turns; t != nil {
		s.turns = nil
		t.waiting = slices.DeleteFunc(t.waiting, func(w turn) bool { return w.slot == s })
	}
}
