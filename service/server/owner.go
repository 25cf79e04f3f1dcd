package server

import "fmt"

// An owner is the holder of a connection: the event that continues the connection comes from it.
type owner uint8

const (
	ownerNone           owner = iota // the loop: the connection waits for its deadline, or is just being continued
	ownerRing                        // an operation in the ring, which can be cancelled
	ownerFill                        // a splice from a file in the ring, which hanging storage may keep
	ownerEngine                      // an operation in the ring that may wait for the crypto engine
	ownerWorker                      // a job in slot.pool, queued or running
	ownerHandshaker                  // a job in loop.handshakers, queued or running
	ownerCloser                      // a job in engine.closers, queued or running: the socket's close
	ownerFillQueue                   // the queue of the semaphore for ownerFill
	ownerEngineQueue                 // the queue for ownerEngine and ownerCloser
	ownerOrphanInRing                // the engine has orphaned it: an operation in the ring does not end
	ownerOrphanOnWorker              // the engine has orphaned it: a worker does not return
	ownerOrphan                      // the engine has orphaned it: nothing is running, and its close would wait
)

func (o owner) String() string {
	return [...]string{"nobody", "ring", "file read", "engine", "worker", "handshaker", "closer",
		"queue for file reads", "queue for the engine", "orphaned in the ring", "orphaned on a worker", "orphaned"}[o]
}

// orphaned reports whether the connection is orphaned in the engine.
func (o owner) orphaned() bool { return o >= ownerOrphanInRing }

// mayPrecede reports whether a connection may go from o to next. Each owner returns it to the
// loop before another owner receives it. Two exceptions: a queue passes a connection on directly,
// and a connection is orphaned while an operation or a job runs.
func (o owner) mayPrecede(next owner) bool {
	switch {
	case next == ownerNone:
		return o != ownerNone
	case next == ownerOrphanInRing:
		return o == ownerEngine
	case next == ownerOrphanOnWorker:
		return o == ownerHandshaker || o == ownerCloser
	case o == ownerFillQueue:
		return next == ownerFill
	case o == ownerEngineQueue:
		return next == ownerEngine || next == ownerCloser
	}
	return o == ownerNone
}

// setOwner changes the owner of a connection, and counts it as live or as orphaned.
// Invariant: l.live and l.engine.orphaned are the numbers of connections that are not orphaned,
// and that are. No operation or job of a connection begins before the last one has ended.
func (l *loop) setOwner(s *slot, o owner) {
	if !s.owner.mayPrecede(o) {
		panic(fmt.Sprintf("server: a connection goes from %q to %q", s.owner, o))
	}
	switch {
	case o.orphaned() && !s.owner.orphaned():
		l.countLive(-1)
		l.engine.orphaned++
	case !o.orphaned() && s.owner.orphaned():
		l.countLive(1)
		l.engine.orphaned--
	}
	s.owner = o
}
