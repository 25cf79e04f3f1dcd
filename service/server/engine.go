package server

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/offload"
	"uringhttpd/service/pool"
)

const (
	// engineTime is the time without a completion after which the engine is tested, while an
	// operation waits for it.
	engineTime = 5 * time.Second
	// engineRetest is the minimum time between two tests.
	engineRetest = 30 * time.Second
	// testTime exceeds the duration of a test, including the abandonment of a test that hangs.
	testTime = 30 * time.Second
	// engineLosses is the number of connections that an engine may orphan before it is disabled
	// although it passes its tests.
	engineLosses = 4
	// The engine completes records in order. An operation is considered orphaned once
	// engineOvertakes later operations have completed that had to wait for their records.
	engineOvertakes = 32
	// lastUseTime is the time between the last operation of a connection and its close, if the
	// close may wait. It lets the kernel release that operation's reference to the socket first:
	// the thread that releases the last reference waits for the engine.
	lastUseTime = 100 * time.Millisecond
)

var (
	// ErrEngineLost is Run's error when the crypto engine never released some connections.
	// Their sockets, and this process, stay until the machine reboots.
	ErrEngineLost = errors.New("server: the crypto engine has not released some connections, and only a reboot ends this process")
	errNoVerdict  = errors.New("the test did not end in time")
)

// engine is the loop's state of the asynchronous cipher driver. A send that ends a record
// waits for the driver, uninterruptibly and with the socket locked; so does the close of a
// socket that has records there, and any send while its queue is full (net/tls/tls_sw.c,
// tls_encrypt_async_wait). These operations never end if the driver stops answering. So the
// loop limits their number, begins no others after a failure, and leaves their sockets alone.
type engine struct {
	limit        int       // limit of inFlight
	inFlight     int       // operations that may wait for the driver
	queue        []*slot   // slots with an operation to begin, in order
	closers      pool.Pool // closes sockets that have records in the driver; io_uring would not report the end of a close
	completedAt  time.Time // end of the last operation that had to wait for the driver
	completed    int       // number of such operations
	passedAt     time.Time // last test passed
	tester       pool.Pool // runs the test of the engine, or of a new driver, on a goroutine of its own
	testToken    uint64    // token of the latest test; the end of an earlier test is ignored
	testing      bool
	testDeadline time.Time
	nextTest     time.Time // no test before this time
	verdict      *error    // result of the test
	dead         bool      // the driver is no longer used
	recovered    bool      // the driver has completed an operation since then
	orphaned     int       // connections orphaned in the driver
}

// usesEngine reports whether an asynchronous cipher encrypts the connection's records.
func (c *conn) usesEngine() bool { return c.async && c.transport == kernel }

// noteEngineOutput updates the total number of bytes passed to the connection's TCP. An increase
// means that the engine has completed records. The first reading is not compared, because it
// may include the handshake, which the engine did not encrypt.
func (c *conn) noteEngineOutput(bytes int64, now time.Time) {
	if c.tcpBytes > 0 && bytes > c.tcpBytes {
		c.loop.engineOutputAt = now
	}
	c.tcpBytes = bytes
}

// submitAsync starts an operation that may wait for the engine, on a thread other than the
// loop's, or queues it while the limit of such operations is reached.
func (l *loop) submitAsync(s *slot, op operation) {
	op.async = true
	s.op = op
	if l.engine.inFlight < l.engine.limit {
		l.startAsync(s)
		return
	}
	l.setOwner(s, ownerEngineQueue)
	l.deadlines.set(s, time.Time{})
	l.engine.queue = append(l.engine.queue, s)
}

func (l *loop) startAsync(s *slot) {
	l.engine.inFlight++
	s.startedAt, s.completedBefore = l.now, l.engine.completed
	l.deadlines.set(s, l.now.Add(engineTime))
	if s.op.kind != opClose {
		l.begin(s, s.op, ownerEngine)
		return
	}
	l.setOwner(s, ownerCloser)
	fd := s.fd
	l.engine.closers.Submit(s.token, func() { l.sys.close(fd) })
}

// asyncDone handles the end of an operation that might have waited for the engine.
func (l *loop) asyncDone(s *slot, errno unix.Errno) {
	e := &l.engine
	e.inFlight--
	whole := (s.op.kind == opSend || s.op.kind == opAlert) && !s.op.more
	if errno == 0 && (whole || l.now.Sub(s.startedAt) >= engineTime) {
		e.completedAt = l.now // it had to wait for its record, or for room in the queue
		e.completed++
	}
	s.op, s.startedAt = operation{}, time.Time{}
	if len(e.queue) > 0 {
		next := e.queue[0]
		e.queue = slices.Delete(e.queue, 0, 1)
		l.startAsync(next)
	}
}

// deferClose delays the close of a socket that has data inside kernel TLS.
func (l *loop) deferClose(s *slot) { l.deadlines.set(s, l.now.Add(lastUseTime)) }

// checkStall checks an engine for which s has waited longer than expected.
func (l *loop) checkStall(s *slot) {
	e := &l.engine
	l.deadlines.set(s, l.now.Add(engineTime))
	if s.conn.state == stOffload && !s.installing {
		// It waits for a handshake worker, or has begun since the last check.
		s.startedAt, s.completedBefore, s.installing = l.now, e.completed, s.conn.offloading.Load()
		return
	}
	l.testEngine()
	overtaken := e.completed - s.completedBefore - e.limit // lower bound, by operations that began later
	switch {
	case e.testing || l.now.Sub(s.startedAt) < max(l.gen.stallTimeout, 2*engineTime):
		return
	case !e.dead && e.passedAt.Sub(s.startedAt) < engineTime && overtaken < engineOvertakes:
		return
	}
	// The engine completes other operations, and has dropped this operation.
	if l.orphan(s) && e.orphaned >= engineLosses && !e.dead {
		l.disableEngine(fmt.Errorf("it has not released %d connections", e.orphaned))
	}
	if e.recovered { // it does not answer any more, and the queue would wait for it
		e.recovered = false
		for _, waiting := range slices.Clone(e.queue) {
			l.leaveQueue(waiting)
			l.closeWithoutEngine(waiting)
		}
	}
}

// engineActive reports whether the engine has completed an operation recently.
func (l *loop) engineActive() bool {
	return l.now.Sub(l.engine.completedAt) < engineTime || l.now.Sub(l.shared.engineOutputAt) < engineTime
}

// testEngine starts a test of the engine unless there is evidence that it works.
func (l *loop) testEngine() {
	e := &l.engine
	if e.dead || e.testing || l.newDrivers.testing != "" || l.engineActive() || l.now.Before(e.nextTest) {
		return
	}
	l.gen.log.Warn("crypto engine stalled: running its self-test", "driver", l.proc.drivers.asynchronous(), "for", engineTime)
	verdict := new(error)
	e.testing, e.verdict = true, verdict
	e.testDeadline = l.now.Add(testTime)
	l.deadlines.set(&slot{heapIndex: -1}, e.testDeadline) // to wake the loop then
	suites := l.proc.drivers.suites()
	e.testToken++
	e.tester.Submit(e.testToken, func() { *verdict = l.testCipher(l.proc.lifetime, suites) })
}

// checkTestDeadline abandons a test that exceeds its deadline.
func (l *loop) checkTestDeadline() {
	if e := &l.engine; e.testing && !l.now.Before(e.testDeadline) && e.tester.Replace(e.testToken) {
		l.engineTested(errNoVerdict)
	}
}

// testDone handles the end of a test, of the engine or of a new driver.
func (l *loop) testDone(token uint64) {
	switch e := &l.engine; {
	case token != e.testToken: // abandoned, and another test has begun since
	case e.testing:
		l.engineTested(*e.verdict)
	case l.newDrivers.testing != "":
		l.newDriverTested()
	}
}

// engineTested handles the result of a test.
func (l *loop) engineTested(err error) {
	e := &l.engine
	e.testing = false
	e.nextTest = l.now.Add(engineRetest)
	switch {
	case l.proc.lifetime.Err() != nil: // the service is ending
	case errors.Is(err, offload.ErrInconclusive):
		l.gen.log.Warn("crypto engine test had no result", "driver", l.proc.drivers.asynchronous(), "reason", err)
	case err == nil || l.engineActive(): // the engine may be too slow to finish the test in time
		if err == nil {
			e.passedAt = l.now
		}
		l.gen.log.Info("crypto engine works", "driver", l.proc.drivers.asynchronous())
	default:
		l.disableEngine(err)
	}
}

// disableEngine ends the use of the engine, and all connections that it encrypts for.
// Operations that wait inside the kernel stay there.
func (l *loop) disableEngine(why error) {
	e := &l.engine
	e.dead = true
	l.proc.offloads.Store(false)
	const text = "crypto engine does not answer: kernel TLS is disabled until a restart"
	l.gen.log.Error(text, "driver", l.proc.drivers.asynchronous(), "reason", why)
	l.publish(fmt.Sprintf("%s (%s: %v)", text, l.proc.drivers.asynchronous(), why))
	for _, s := range l.slots {
		switch c := s.conn; {
		case c == nil || s.owner.orphaned():
		case c.state == stOffload:
			l.orphan(s) // if its job is running
		case !c.usesEngine():
		case s.owner == ownerEngine || s.owner == ownerCloser:
			l.orphan(s)
		case s.owner == ownerRing && c.state != stClosed || s.owner == ownerFill:
			l.cancel(s.handle)
		case s.owner == ownerRing || s.owner == ownerWorker: // perform ends the connection
		default: // it waits, for a deadline or in a queue
			l.leaveQueue(s)
			l.perform(s, operation{})
		}
	}
	l.gen.log.Error("connections were lost in the crypto engine", "connections", e.orphaned)
}

// publish publishes a message for the operator in the service's status.
func (l *loop) publish(text string) {
	if l.notice != nil {
		l.notice(text)
	}
}

// closeWithoutEngine ends a connection whose engine is dead, and at least signals the client that
// no more data follows.
func (l *loop) closeWithoutEngine(s *slot) {
	l.deadlines.set(s, time.Time{})
	l.uncountYield(s)
	if s.conn.state != stClosed {
		s.conn.reset(causeEngine, "the crypto engine does not answer")
	}
	switch {
	case s.conn.sock.Empty():
		l.begin(s, operation{kind: opClose}, ownerRing)
		return
	case l.engine.recovered: // as engineRecovered does for the connections orphaned earlier
		l.submitAsync(s, operation{kind: opClose})
		return
	}
	s.conn.sock.HangUp()
	l.orphan(s)
}

// orphan gives up the connection of s, which the kernel holds. The descriptor stays open,
// because a close would wait for the engine, too. It reports whether the connection was
// orphaned: a worker may just have returned.
func (l *loop) orphan(s *slot) bool {
	as := ownerOrphan
	switch s.owner {
	case ownerHandshaker:
		if s.conn.state != stOffload || !l.handshakers.Replace(s.token) {
			return false
		}
		l.handshakes--
		as = ownerOrphanOnWorker
	case ownerCloser:
		if !l.engine.closers.Replace(s.token) {
			return false
		}
		as = ownerOrphanOnWorker
	case ownerEngine:
		as = ownerOrphanInRing
	}
	l.uncountYield(s)
	l.deadlines.set(s, time.Time{})
	l.setOwner(s, as)
	l.gen.log.Warn("connection lost in the crypto engine", "remote", s.conn.client.peer)
	return true
}

// reclaim ends an orphaned connection that the kernel has released after all.
func (l *loop) reclaim(s *slot, ev event) {
	alive := l.engine.completedAt == l.now
	if s.conn.state != stClosed {
		s.conn.step(ev)
	}
	if s.conn.state != stClosed {
		s.conn.reset(causeEngine, "the crypto engine took too long")
	}
	l.perform(s, operation{kind: opClose})
	if alive && l.engine.dead && !l.engine.recovered {
		l.engineRecovered()
	}
}

// engineRecovered closes orphaned connections that could not be closed before, because an engine
// declared dead has answered. The engine stays disabled.
func (l *loop) engineRecovered() {
	l.engine.recovered = true
	l.gen.log.Warn("crypto engine answered again: it stays disabled until a restart", "driver", l.proc.drivers.asynchronous())
	for _, s := range l.slots {
		if s.owner == ownerOrphan {
			l.setOwner(s, ownerNone)
			l.submitAsync(s, operation{kind: opClose})
		}
	}
}
