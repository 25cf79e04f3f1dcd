package server

import (
	"slices"
	"time"
)

// turnTime is how long a connection waits for its turn. While storage that hangs has
// them all, files in the page cache are copied instead of spliced.
const turnTime = time.Second

// turns lets so many operations of a kind be in the ring at a time. The others wait
// in the order they came.
type turns struct {
	free    int
	waiting []turn
}

type turn struct {
	slot *slot
	op   operation
}

// inTurn begins op, or has it wait: for turnTime at most, and then the connection's
// event is late. One that is not patient is told at once that there is no turn.
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

// pass gives the turn of an operation that has ended to who waits first.
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

// withdraw ends a connection's wait for its turn, if it waits for one.
func (l *loop) withdraw(s *slot) {
	if t := s.turns; t != nil {
		s.turns = nil
		t.waiting = slices.DeleteFunc(t.waiting, func(w turn) bool { return w.slot == s })
	}
}
