package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/uring"
)

// engineSystem records the operations that a loop begins and cancels.
type engineSystem struct {
	system
	clock     time.Time
	started   []operation
	cancelled int
}

func (r *engineSystem) now() time.Time            { return r.clock }
func (r *engineSystem) cancel(uring.Handle) error { r.cancelled++; return nil }
func (r *engineSystem) close(int)                 {}

func (r *engineSystem) awaitWaker(uint64) (uring.Handle, error) { return 1, nil }

func (r *engineSystem) start(_ int, op operation, _ uint64) (uring.Handle, error) {
	r.started = append(r.started, op)
	return uring.Handle(len(r.started)), nil
}

func (r *engineSystem) closes() (n int) {
	for _, op := range r.started {
		if op.kind == opClose {
			n++
		}
	}
	return n
}

type manualJob struct {
	token uint64
	run   func()
}

// manualPool is a pool whose jobs run when the test calls work.
type manualPool struct {
	jobs     []manualJob
	done     []uint64
	replaced []uint64
	busy     []uint64 // jobs that a worker has
}

func (p *manualPool) Submit(token uint64, run func()) { p.jobs = append(p.jobs, manualJob{token, run}) }

func (p *manualPool) Finished(buf []uint64) []uint64 {
	buf = append(buf, p.done...)
	p.done = nil
	return buf
}

func (p *manualPool) Replace(token uint64) bool {
	p.replaced = append(p.replaced, token)
	return slices.ContainsFunc(p.jobs, func(j manualJob) bool { return j.token == token })
}

func (p *manualPool) Runs(token uint64) bool { return slices.Contains(p.busy, token) }

func (p *manualPool) Withdraw(token uint64) bool {
	n := len(p.jobs)
	p.jobs = slices.DeleteFunc(p.jobs, func(j manualJob) bool { return j.token == token && !p.Runs(token) })
	return len(p.jobs) < n
}

func (p *manualPool) Close(time.Duration) bool { return true }

func (p *manualPool) work() {
	for _, j := range p.jobs {
		j.run()
		p.done = append(p.done, j.token)
	}
	p.jobs, p.busy = nil, nil
}

// engineLoop is a loop with n connections that use the engine.
type engineLoop struct {
	*loop
	sys             *engineSystem
	tester, closers *manualPool
	answer          error // of the engine's tests
}

func newEngineLoop(t *testing.T, n int) *engineLoop {
	t.Helper()
	sys := &engineSystem{clock: time.Unix(1e9, 0)}
	env := driveSettings(nil)
	s := &Server{gen: env.gen, proc: env.proc}
	s.gen.stallTimeout = time.Minute
	s.proc.offloads.Store(true)
	s.proc.lifetime, s.endRequests = context.WithCancel(context.Background())
	t.Cleanup(s.endRequests)
	e := &engineLoop{sys: sys, tester: &manualPool{}, closers: &manualPool{}}
	s.testCipher = func(context.Context, []uint16) error { return e.answer }
	e.loop = &loop{Server: s, shared: env.loop, sys: sys, now: sys.clock, workers: &manualPool{}, disk: &manualPool{}, handshakers: &manualPool{}, storage: storage{closer: &manualPool{}}, live: n,
		engine: engine{limit: 4, tester: e.tester, closers: e.closers}}
	w := newWorld(&script{}, newSimIdentity(t))
	for i := range n {
		sock := &simSocket{w: w}
		var err error
		if sock.meter, err = ktls.NewMeter(sock); err != nil {
			t.Fatal(err)
		}
		c := newConn(env, sock, endpoint{}, nil)
		c.startKernelTLS()
		c.async = true
		e.slots = append(e.slots, &slot{conn: c, fd: 5 + i, token: uint64(i), heapIndex: -1})
	}
	return e
}

// send makes a connection send, and the engine hold the record.
func (e *engineLoop) send(i int, more bool) {
	s := e.slots[i]
	s.conn.sock.Sent(1000)
	s.conn.state, s.conn.transfer = stTransfer, transfer{phase: phPush, out: make([]byte, 10)}
	s.conn.then, s.conn.exchange.close = thenEndResponse, true
	e.perform(s, operation{kind: opSend, buf: s.conn.transfer.out, more: more})
}

// pass advances the time.
func (e *engineLoop) pass(d time.Duration) {
	for end := e.sys.clock.Add(d); e.sys.clock.Before(end); {
		e.sys.clock = e.sys.clock.Add(time.Second)
		e.now = e.sys.clock
		e.expire()
		e.checkTestDeadline()
		e.tester.work()
		e.onWake()
	}
}

// TestQueuedKeyInstallationIsNoStall: keys whose installation has waited long for a handshake worker,
// and has just begun, do not mean that the engine has stalled.
func TestQueuedKeyInstallationIsNoStall(t *testing.T) {
	e := newEngineLoop(t, 1)
	s := e.slots[0]
	s.conn.state = stOffload
	e.perform(s, operation{kind: opOffload, job: func() {}})
	e.pass(3*engineTime - time.Second)
	s.conn.offloading.Store(true)
	e.pass(time.Second)
	if e.engine.testToken != 0 {
		t.Error("the engine is tested at once")
	}
	if e.pass(engineTime); e.engine.testToken != 1 {
		t.Errorf("%d tests of an engine that has not installed keys for %v, want 1", e.engine.testToken, engineTime)
	}
}

// TestDeadEngineClosesWaitingConnection: a connection that waits for its client is closed when its
// engine is disabled. The deadline of that wait does not cancel the close, and a close that did not
// happen is repeated.
func TestDeadEngineClosesWaitingConnection(t *testing.T) {
	e := newEngineLoop(t, 1)
	s := e.slots[0]
	s.conn.state = stDrain
	e.perform(s, operation{kind: opWait, deadline: e.now.Add(20 * time.Millisecond)})
	e.disableEngine(errSimDead)
	if e.sys.closes() != 1 {
		t.Fatalf("begun: %+v, want a close", e.sys.started)
	}
	e.pass(time.Second)
	if e.sys.cancelled > 0 {
		t.Error("the close is cancelled by the deadline of the wait before it")
	}
	e.complete(uring.Completion{Token: tokenBase, Result: -int32(unix.ECANCELED)})
	if s.conn == nil || e.sys.closes() != 2 {
		t.Error("a close that has not happened is taken for one")
	}
	e.complete(uring.Completion{Token: tokenBase})
	if e.live != 0 || len(e.free) != 1 {
		t.Errorf("%d connections are left", e.live)
	}
}

// TestAbortEndsEngineTest: Abort ends the test of an engine, which is no verdict.
func TestAbortEndsEngineTest(t *testing.T) {
	e := newEngineLoop(t, 1)
	e.send(0, false)
	e.now = e.now.Add(2 * engineTime)
	e.testEngine()
	e.Abort()
	e.answer = e.proc.lifetime.Err() // as the caller of the test returns it
	e.tester.work()
	e.onWake()
	e.engineTested(e.answer)
	if e.engine.dead || !errors.Is(e.fatal, ErrAborted) {
		t.Errorf("dead %v, fatal %v", e.engine.dead, e.fatal)
	}
}

// TestEngineTestResults: each result of a test has its consequence.
func TestEngineTestResults(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer error
		hangs  bool // the test does not end
		dead   bool
	}{
		{"works", nil, false, false},
		{"does not answer", errSimDead, false, true},
		{"test not possible", fmt.Errorf("%w: no memory", offload.ErrInconclusive), false, false},
		{"the test hangs", nil, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEngineLoop(t, 1)
			e.answer = tc.answer
			e.send(0, false)
			e.now = e.now.Add(engineTime)
			e.expire()
			if !e.engine.testing {
				t.Fatal("no test")
			}
			if tc.hangs {
				e.sys.clock, e.now = e.now.Add(testTime), e.now.Add(testTime)
				e.checkTestDeadline()
			}
			e.tester.work()
			e.onWake()
			if e.engine.dead != tc.dead || e.proc.offloads.Load() == tc.dead || (e.engine.orphaned == 1) != tc.dead {
				t.Errorf("dead %v, keys are handed over %v, %d lost", e.engine.dead, e.proc.offloads.Load(), e.engine.orphaned)
			}
		})
	}
}

// TestEngineOutputProvesLife: an engine that is so busy that no operation and no test ends counts
// as alive as long as its records reach TCP.
func TestEngineOutputProvesLife(t *testing.T) {
	e := newEngineLoop(t, 2)
	e.answer = errSimDead
	e.send(0, false)
	other := e.slots[1].conn
	out := int64(1000) // of the handshake, which is no evidence
	for range 20 {
		other.noteEngineOutput(out, e.now)
		out += 1000
		e.pass(engineTime / 2)
	}
	if e.engine.testing || e.engine.dead || e.engine.orphaned > 0 {
		t.Errorf("testing %v, dead %v, %d orphaned, although it has just completed a record", e.engine.testing, e.engine.dead, e.engine.orphaned)
	}
	e.pass(2 * engineTime)
	if !e.engine.dead {
		t.Error("it is not disabled although it has completed nothing for long")
	}
}

// TestOperationOrphanedAfterOvertakes: an operation is orphaned once the engine has completed many
// later operations that had to wait. Operations that did not have to wait do not count.
func TestOperationOrphanedAfterOvertakes(t *testing.T) {
	for _, more := range []bool{true, false} {
		e := newEngineLoop(t, 2)
		e.send(0, false)
		other := e.slots[1]
		for range 3 * engineOvertakes {
			e.submitAsync(other, operation{kind: opSend, more: more})
			e.setOwner(other, ownerNone)
			e.asyncDone(other, 0)
			e.shared.engineOutputAt = e.now // so nothing is tested
			e.pass(time.Second)
		}
		if lost := e.engine.orphaned == 1; lost == more {
			t.Errorf("MSG_MORE %v: %d connections are lost", more, e.engine.orphaned)
		}
	}
}

// TestEngineDisabledAfterLosses: an engine that passes its tests, and drops some operations,
// orphans their connections, and is disabled after engineLosses of them.
func TestEngineDisabledAfterLosses(t *testing.T) {
	e := newEngineLoop(t, engineLosses)
	for i := range engineLosses {
		e.send(i, false)
		e.pass(e.gen.stallTimeout / 2)
		if e.engine.orphaned > i {
			t.Fatalf("%d connections are lost too early", e.engine.orphaned-i)
		}
		e.pass(e.gen.stallTimeout)
		if e.engine.orphaned != i+1 || e.live != engineLosses-i-1 {
			t.Fatalf("%d connections are lost, %d live; want %d lost", e.engine.orphaned, e.live, i+1)
		}
	}
	if !e.engine.dead {
		t.Error("it is not disabled")
	}
}

// TestEngineRecovers: of the operations orphaned when the engine was disabled, one returns with
// EAGAIN, which is no sign of life. When an operation returns that had to wait for a record, the
// workers close the connections that could not be closed before.
func TestEngineRecovers(t *testing.T) {
	e := newEngineLoop(t, 3)
	held := e.slots[0]
	held.conn.sock.Sent(1000)
	held.conn.state = stDrain
	e.perform(held, operation{kind: opWait, deadline: e.now.Add(time.Hour)})
	e.send(1, true)
	e.send(2, false)
	e.disableEngine(errSimDead)
	if e.engine.orphaned != 3 || len(e.sys.started) != 2 {
		t.Fatalf("%d are lost, %d operations were begun", e.engine.orphaned, len(e.sys.started))
	}
	e.complete(uring.Completion{Token: tokenBase + 1, Result: -int32(unix.EAGAIN)})
	if e.engine.recovered || e.sys.closes()+len(e.closers.jobs) > 0 || e.engine.orphaned != 3 {
		t.Errorf("EAGAIN revives the engine: %v, %d are lost", e.engine.recovered, e.engine.orphaned)
	}
	e.complete(uring.Completion{Token: tokenBase + 2, Result: 10})
	if !e.engine.recovered || e.sys.closes() > 0 || len(e.closers.jobs) != 3 || e.proc.offloads.Load() {
		t.Errorf("revived %v, closes in the ring %d, by workers %d", e.engine.recovered, e.sys.closes(), len(e.closers.jobs))
	}
	e.closers.work()
	e.onWake()
	if e.live != 0 || e.engine.orphaned != 0 || e.engine.inFlight != 0 {
		t.Errorf("%d connections live, %d are lost, %d operations wait", e.live, e.engine.orphaned, e.engine.inFlight)
	}
}

// TestEngineRecoversFromFullQueue: a splice that returns after a wait shows that an engine whose
// queue was full has answered, although splices usually do not wait. A splice that has just begun
// shows nothing.
func TestEngineRecoversFromFullQueue(t *testing.T) {
	for _, waited := range []time.Duration{0, engineTime} {
		e := newEngineLoop(t, 1)
		e.send(0, true) // as a splice is
		e.now = e.now.Add(waited)
		e.sys.clock = e.now
		e.disableEngine(errSimDead)
		e.complete(uring.Completion{Token: tokenBase, Result: 10})
		if e.engine.recovered != (waited > 0) {
			t.Errorf("after %v: revived %v", waited, e.engine.recovered)
		}
	}
}

// TestEngineRecoversInParts: operations of an engine that recovers may return one after the other.
// The later ones are closed, too, although the engine may still hold records of them.
func TestEngineRecoversInParts(t *testing.T) {
	e := newEngineLoop(t, 2)
	e.send(0, false)
	e.send(1, false)
	e.disableEngine(errSimDead)
	if e.engine.orphaned != 2 {
		t.Fatalf("%d are lost", e.engine.orphaned)
	}
	e.complete(uring.Completion{Token: tokenBase, Result: 10})
	e.slots[1].conn.sock.Sent(1000)
	e.complete(uring.Completion{Token: tokenBase + 1, Result: 10})
	if !e.engine.recovered || len(e.closers.jobs) == 0 {
		t.Errorf("revived %v, closes by workers %d", e.engine.recovered, len(e.closers.jobs))
	}
	e.closers.work()
	e.onWake()
	for fd, n := 0, e.sys.closes(); fd < n; fd++ {
		e.complete(uring.Completion{Token: tokenBase})
	}
	if e.live != 0 || e.engine.orphaned != 0 || e.engine.inFlight != 0 {
		t.Errorf("%d connections live, %d are lost, %d operations wait", e.live, e.engine.orphaned, e.engine.inFlight)
	}
}

// TestJobReturnsAfterRecovery: a connection of which a job returns when a disabled engine has
// recovered is closed, and not orphaned for good. While it waits in the queue for the engine, the
// deadline of its job does not matter any more.
func TestJobReturnsAfterRecovery(t *testing.T) {
	for _, op := range []operation{{kind: opClose}, {kind: opWait}} {
		const others = 5
		e := newEngineLoop(t, others+1)
		for i := 1; i <= others; i++ {
			held := e.slots[i]
			held.conn.sock.Sent(1000)
			held.conn.state = stDrain
			e.perform(held, operation{kind: opWait, deadline: e.now.Add(time.Hour)})
		}
		s := e.slots[0]
		s.conn.sock.Sent(1000)
		s.conn.state = stTransfer
		e.perform(s, operation{kind: opDisk, job: func() {}})
		e.disableEngine(errSimDead)
		e.engine.completedAt = e.now
		e.engineRecovered() // the closes of the others use up the limit
		e.setOwner(s, ownerNone)
		if op.kind == opClose {
			s.conn.reset(causeFile, "changed")
		}
		e.perform(s, op)
		if s.owner != ownerEngineQueue || s.heapIndex != -1 {
			t.Errorf("operation %d: %q has the connection, index of its deadline %d", op.kind, s.owner, s.heapIndex)
		}
		e.pass(30 * time.Second)
		for range others + 1 {
			e.closers.work()
			e.onWake()
		}
		if e.live != 0 || e.engine.orphaned != 0 {
			t.Errorf("operation %d: %d connections live, %d orphaned", op.kind, e.live, e.engine.orphaned)
		}
	}
}

// TestEngineDiesAgainAfterRecovery: when the closes of a recovered engine do not return, they are
// orphaned, and so are the connections in the queue behind them: a stop does not wait for them.
func TestEngineDiesAgainAfterRecovery(t *testing.T) {
	const n = 7
	e := newEngineLoop(t, n)
	for _, s := range e.slots {
		s.conn.sock.Sent(1000)
		s.conn.state = stDrain
		e.perform(s, operation{kind: opWait, deadline: e.now.Add(time.Hour)})
	}
	e.disableEngine(errSimDead)
	e.engine.completedAt = e.now
	e.engineRecovered()
	if e.live != n || len(e.engine.queue) != n-e.engine.limit {
		t.Fatalf("%d live, %d in the queue", e.live, len(e.engine.queue))
	}
	e.pass(2 * e.gen.stallTimeout)
	if e.live != 0 || e.engine.orphaned != n || len(e.engine.queue) != 0 || e.engine.recovered {
		t.Errorf("%d live, %d orphaned, %d in the queue", e.live, e.engine.orphaned, len(e.engine.queue))
	}
}

// TestAsyncOperationAllocatesNothing: an operation that need not be queued allocates no memory.
func TestAsyncOperationAllocatesNothing(t *testing.T) {
	e := newEngineLoop(t, 1)
	e.deadlines = make(deadlines, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		e.sys.started = e.sys.started[:0]
		e.submitAsync(e.slots[0], operation{kind: opSend})
		e.setOwner(e.slots[0], ownerNone)
		e.asyncDone(e.slots[0], 0)
	}); n > 0 {
		t.Errorf("%v allocations for each operation", n)
	}
}
