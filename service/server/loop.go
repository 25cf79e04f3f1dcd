package server

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/pool"
	"uringhttpd/uring"
)

const (
	ringEntries = 256
	acceptPause = 100 * time.Millisecond // pause after an accept failure that only time, or a closed descriptor, can clear

	// maxHandshakes is the number of handshakes queued or being computed from which on no
	// further TLS connection is accepted.
	maxHandshakes = 64

	// Tokens of the ring's operations: these constants, then the listeners, then the
	// connections' slots.
	tokenNone  = 0 // the completion is ignored
	tokenWaker = 1
	tokenCache = 2
	tokenBase  = 3
)

// A slot is the loop's record of a connection.
type slot struct {
	conn      *conn
	fd        int
	token     uint64       // index in loop.slots
	owner     owner        // see setOwner
	handle    uring.Handle // of the operation in the ring
	late      bool         // the operation was cancelled because its deadline passed
	yields    bool         // the connection was asked to end in favor of another
	mayYield  bool         // counted in loop.yieldable
	deadline  time.Time
	heapIndex int // index in the heap of deadlines; -1: no deadline

	// See storage.go.
	pool        pool.Pool // the pool of ownerWorker
	submittedAt time.Time // when the job was submitted to pool
	readSince   time.Time // start of the current read, if it may wait for storage
	slow        bool      // the read has taken diskTime
	hung        bool      // the read has taken stall_timeout

	// See engine.go.
	op              operation // of ownerEngine, ownerCloser and ownerEngineQueue
	startedAt       time.Time // when the operation entered the ring, or the key installation began; else zero
	completedBefore int       // engine.completed at that time
	installing      bool      // the key installation had begun at its last check
}

// loop is the only thread that touches the ring, and all connections except those that a
// worker owns.
type loop struct {
	*Server
	shared      *loopState
	sys         system
	workers     pool.Pool // for handlers and user-space encryption; they do not wait for storage, except as described in storage.go
	disk        pool.Pool // for jobs that may wait for storage
	handshakers pool.Pool // for handshakes alone, so that a flood of them delays nothing else
	handshakes  int       // queued or running in handshakers
	slots       []*slot
	free        []int
	live        int
	yieldable   int            // connections that could end in favor of another; see yield
	yielding    int            // connections that were asked to end, and have not closed yet
	accepts     []uring.Handle // by listener: the accept in the ring, or 0
	fills       semaphore      // limits the splices of files into pipes
	storage     storage
	resumeAt    time.Time
	deadlines   deadlines
	now         time.Time
	finished    []uint64
	engine      engine
	newDrivers  newDrivers
	fatal       error
}

// Run serves until Shutdown, and returns nil when the last connection is closed.
// It calls ready once connections are accepted. The error is a
// *uring.FeatureError if the kernel lacks a feature that the ring needs.
func (s *Server) Run(ready func()) error {
	// A ring belongs to the thread that created it. The thread is never unlocked, so it
	// ends with this goroutine.
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- s.run(ready)
	}()
	return <-result
}

func (s *Server) run(ready func()) error {
	defer s.closeListeners()
	defer s.waker.Close()
	sys, err := newRingSystem(s.waker)
	if err != nil {
		if s.gen.cache != nil {
			s.gen.cache.Close()
		}
		return err
	}
	n := processors()
	l := &loop{
		Server:      s,
		shared:      &loopState{memory: s.memory},
		sys:         sys,
		workers:     pool.New(cachedWorkers(n), s.waker),
		disk:        pool.New(diskOps, s.waker),
		storage:     storage{closer: pool.New(releaseOps, s.waker)},
		handshakers: pool.New(handshakeWorkers(n), s.waker),
		engine:      engine{limit: engineOps, closers: pool.New(engineOps, s.waker), tester: pool.New(1, s.waker)},
		fills:       semaphore{free: maxFills},
	}
	return l.run(ready)
}

func (l *loop) run(ready func()) (err error) {
	l.shared.releaseFiles = l.releaseFiles
	l.newDrivers = makeNewDrivers(l.refused)
	defer func() {
		l.endRequests() // needed if the ring failed: handlers must end then, too
		err = errors.Join(err, l.sys.end(l.completeAtExit))
		l.workers.Close(diskTime)
		l.disk.Close(diskTime)
		l.releaseAtExit()
		l.closeCache()
		handshaken, closed := l.handshakers.Close(engineTime), l.engine.closers.Close(engineTime)
		if !handshaken || !closed {
			l.orphanRunning()
		}
		l.engine.tester.Close(engineTime)
		l.resetRemaining()
		if n := l.engine.orphaned; n > 0 {
			err = errors.Join(err, fmt.Errorf("%w: %d", ErrEngineLost, n))
		}
		if n := l.storage.abandoned; n > 0 {
			err = errors.Join(err, fmt.Errorf("%w: %d connections were reset", ErrStorage, n))
		}
	}()
	l.accepts = make([]uring.Handle, len(l.listeners))
	l.now = l.sys.now()
	l.countLive(0)
	l.submitted(l.sys.awaitWaker(tokenWaker))
	l.awaitChange()
	l.accept()
	ready()
	for l.fatal == nil && !(l.shared.stopping && l.live == l.storage.hung) {
		l.shared.answers.updated = false
		if err := l.sys.wait(l.deadlines.next(l.sys.now()), l.complete); err != nil {
			return err
		}
		l.now = l.sys.now()
		l.expire()
		l.checkTestDeadline()
		l.logSuppressed()
		l.prepareAnswer()
		l.accept()
		l.proc.counters.connections.Store(int64(l.live))
		l.proc.counters.orphaned.Store(int64(l.engine.orphaned))
		l.proc.counters.engineDead.Store(l.engine.dead)
	}
	return l.fatal
}

func (s *Server) closeListeners() {
	for _, ln := range s.listeners {
		ln.Close()
	}
}

// submitted records an error from queueing an operation as fatal, which ends the loop, and
// returns the handle.
func (l *loop) submitted(h uring.Handle, err error) uring.Handle {
	if err != nil && l.fatal == nil {
		l.fatal = err
	}
	return h
}

func (l *loop) cancel(h uring.Handle) { l.submitted(0, l.sys.cancel(h)) }

// complete handles one completion of the ring.
func (l *loop) complete(c uring.Completion) {
	l.now = l.sys.now()
	switch n := uint64(len(l.listeners)); {
	case c.Token == tokenNone:
	case c.Token == tokenWaker:
		l.submitted(l.sys.awaitWaker(tokenWaker))
		l.onWake()
	case c.Token == tokenCache:
		l.shared.updateCache(l.gen.cache)
		l.awaitChange()
	case c.Token < tokenBase+n:
		l.accepted(int(c.Token-tokenBase), c)
	default:
		s := l.slots[c.Token-tokenBase-n]
		was := s.owner
		l.setOwner(s, ownerNone)
		if was == ownerFill {
			l.releaseFill()
		}
		l.readEnded(s)
		l.operationDone(s, was, c)
	}
}

// onWake handles the reasons for which the waker fired.
func (l *loop) onWake() {
	switch l.stopRequest.Load() {
	case stopNow:
		l.fatal = ErrAborted
		return
	case stopGracefully:
		l.stop()
	}
	l.finished = l.handshakers.Finished(l.finished[:0])
	for _, token := range l.finished {
		if l.slots[token].owner == ownerHandshaker {
			l.handshakes--
		}
	}
	l.finished = l.disk.Finished(l.workers.Finished(l.finished))
	for _, token := range l.finished {
		if token == tokenPrepare {
			l.answerPrepared()
			continue
		}
		l.jobDone(l.slots[token])
	}
	if len(l.storage.closer.Finished(nil)) > 0 {
		l.fileReleased()
	}
	for _, token := range l.engine.closers.Finished(nil) {
		s := l.slots[token]
		l.setOwner(s, ownerNone)
		l.asyncDone(s, 0)
		l.freeSlot(s)
	}
	for _, token := range l.engine.tester.Finished(nil) {
		l.testDone(token)
	}
}

// jobDone passes the end of a job to its connection, and performs the next operation.
func (l *loop) jobDone(s *slot) {
	was := s.owner
	l.setOwner(s, ownerNone)
	s.startedAt = time.Time{}
	l.readEnded(s)
	if was.orphaned() {
		l.reclaim(s, event{now: l.now})
		return
	}
	var untested *untestedError
	if s.conn.state == stOffload && errors.As(s.conn.jobErr, &untested) {
		l.testNewDriver(untested.subject())
	}
	l.perform(s, s.conn.step(event{now: l.now}))
}

// environment returns the environment of the loop's connections.
func (l *loop) environment() environment { return environment{l.gen, l.proc, l.shared} }

// operationDone passes the end of an operation to its connection, and performs the next. was is
// the connection's owner before the end.
func (l *loop) operationDone(s *slot, was owner, c uring.Completion) {
	l.deadlines.set(s, time.Time{})
	if was == ownerEngine || was == ownerOrphanInRing {
		l.asyncDone(s, c.Errno())
	}
	if s.conn.state == stClosed && !was.orphaned() {
		if c.Errno() == unix.ECANCELED { // the close had not started
			l.begin(s, operation{kind: opClose}, ownerRing)
			return
		}
		l.freeSlot(s)
		return
	}
	ev := event{err: c.Errno(), now: l.now}
	if ev.err == 0 {
		ev.n = int(c.Result)
	} else {
		ev.late = s.late && (ev.err == unix.ECANCELED || ev.err == unix.EINTR)
	}
	s.late, s.startedAt = false, time.Time{}
	if was.orphaned() {
		l.reclaim(s, ev)
		return
	}
	l.perform(s, s.conn.step(ev))
}

// freeSlot frees the slot of a connection whose descriptor is closed.
func (l *loop) freeSlot(s *slot) {
	i := int(s.token)
	l.deadlines.set(s, time.Time{})
	l.uncountYield(s)
	l.countLive(-1)
	*s = slot{heapIndex: -1, token: s.token}
	l.free = append(l.free, i)
}

// perform starts the operation that a connection returned.
func (l *loop) perform(s *slot, op operation) {
	l.updateYieldable(s)
	l.deadlines.set(s, op.deadline)
	if l.engine.dead && s.conn.usesEngine() {
		l.closeWithoutEngine(s)
		return
	}
	switch op.kind {
	case opWait:
		if op.stuck && s.conn.usesEngine() {
			l.testEngine()
		}
		return
	case opJob:
		l.submitJob(s, op, l.workers)
		return
	case opDisk:
		l.submitJob(s, op, l.disk)
		return
	case opHandshake, opOffload:
		l.setOwner(s, ownerHandshaker)
		if op.kind == opOffload {
			s.startedAt, s.completedBefore = l.now, l.engine.completed
			l.deadlines.set(s, l.now.Add(engineTime))
		}
		l.handshakes++
		l.handshakers.Submit(s.token, op.job)
		return
	case opSpliceIn:
		l.acquireFill(s, op)
		return
	}
	switch {
	case !s.conn.usesEngine():
	case op.kind == opSend || op.kind == opAlert || op.kind == opSpliceOut:
		l.submitAsync(s, op)
		return
	case op.kind == opClose && !s.conn.sock.Empty():
		l.deferClose(s)
		return
	}
	l.begin(s, op, ownerRing)
}

// begin submits a connection's operation to the ring, which has the connection as o then.
func (l *loop) begin(s *slot, op operation, o owner) {
	l.setOwner(s, o)
	s.handle = l.submitted(l.sys.start(s.fd, op, tokenBase+uint64(len(l.listeners))+s.token))
}

// expire handles the waits whose deadline has passed.
func (l *loop) expire() {
	for s := l.deadlines.expired(l.now); s != nil; s = l.deadlines.expired(l.now) {
		if s.conn == nil {
			continue // set to wake the loop
		}
		switch s.owner {
		case ownerWorker, ownerFill:
			l.checkSlowRead(s)
		case ownerEngine, ownerHandshaker, ownerCloser:
			l.checkStall(s)
		case ownerRing:
			s.late = true
			l.cancel(s.handle)
		case ownerNone, ownerFillQueue:
			if s.conn.state == stClosed { // see deferClose
				l.submitAsync(s, operation{kind: opClose})
				continue
			}
			l.leaveQueue(s)
			l.perform(s, s.conn.step(event{late: true, now: l.now}))
		default: // does not happen; a deadline that is not needed harms nobody
			l.gen.log.Error("internal error: deadline without a wait", "owner", s.owner)
		}
	}
}
