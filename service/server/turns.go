package server

import (
	"slices"
	"time"
)

// Threads. All that the daemon has do not exceed 32 on a board of up to four
// processors (more add one each, in Go's runtime):
//
//	10  unbounded ones of io_uring: all splices, and sends that wait for an asynchronous
//	    cipher. Bounded ones have nothing to do.
//	 4  workers that close what such a cipher has records of (engineOps)
//	 4  workers that wait for a disk (diskOps)
//	 8  workers that wait in a system call (4, see run), and Go's own for 4 processors
//	 1  worker that releases deleted files
//	 5  others of Go's: the loop's, the log's, the signals', two of the runtime
const (
	boundedWorkers   = 1 // 0 would leave the kernel's number
	unboundedWorkers = 10
	// maxFills is how many of the unbounded workers may be reading files. A disk
	// that hangs keeps them, and an engine that is dead keeps engineOps; the others
	// go on with what has to do with neither.
	maxFills = 4
	// turnTime is how long a connection waits for its turn. When a disk that hangs has
	// them all, files that are in memory are copied instead of spliced.
	turnTime = time.Second
)

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
