package server

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"uringhttpd/offload"
	"uringhttpd/service/pool"

	"golang.org/x/sys/unix"
)

const (
	// engineTime is how long nothing may come of the engine, while something is
	// waited for, before it is tested.
	engineTime = 5 * time.Second
	// engineRetest is the least time between two tests.
	engineRetest = 30 * time.Second
	// testTime is more than a test takes, also one that has to be left behind.
	testTime = 30 * time.Second
	// engineLosses is how many connections one that passes its tests may lose
	// before it is used no more.
	engineLosses = 4
	// engineOvertakes is by how many later operations one is overtaken that the engine
	// has forgotten: it takes records as they come. Those that had to wait for theirs count.
	engineOvertakes = 32
	// lastUseTime is between the last operation of a connection and its close, if
	// that may wait: time for the kernel to give back that operation's hold on the
	// socket. Who gives back the last one, waits.
	lastUseTime = 100 * time.Millisecond
)

var (
	// ErrEngineLost is Run's error when connections are left that the crypto
	// engine never gave back. Their sockets, and this process, stay until the
	// board boots.
	ErrEngineLost = errors.New("server: connections are lost in the crypto engine; only a reboot ends this process")
	errNoVerdict  = errors.New("the test did not end")
)

// engine is what the loop knows of who encrypts for kernel TLS asynchronously. A
// send that ends a record waits for it, uninterruptibly and with the socket
// locked; so does the close of a socket that has records there, and any send while
// its queue is full (net/tls/tls_sw.c, tls_encrypt_async_wait). One that dies takes
// these operations with it; the loop sees to it that they are few, that no other is
// begun, and that nothing else touches their sockets.
type engine struct {
	limit    int       // of inFlight
	inFlight int       // operations that may wait for it
	queue    []*slot   // that have one to begin, in order
	closers  pool.Pool // close sockets that it has records of; io_uring would not say when that ends
	moved    time.Time // when an operation that had to wait for it last ended
	ended    int       // such operations
	passed   time.Time // when it last passed a test
	tester   pool.Pool // runs the test, or that of a newcomer, on a goroutine of its own
	test     uint64    // token of the latest one; the end of any other comes too late
	testing  bool
	testBy   time.Time // when that must have ended
	testAt   time.Time // no test before that
	verdict  *error    // of the test
	dead     bool      // it is used no more
	revived  bool      // it has answered since
	lost     int       // connections that it did not give back
}

// usesEngine tells whether an asynchronous cipher encrypts for the connection.
func (c *conn) usesEngine() bool { return c.async && c.transport == kernel }

// engineGave takes what a connection's TCP has been given in all, in bytes. More than
// before is records that the engine has finished. The first reading may see the
// handshake, which it had no part in.
func (c *conn) engineGave(bytes int64, now time.Time) {
	if c.flow.given > 0 && bytes > c.flow.given {
		c.loop.engineOut = now
	}
	c.flow.given = bytes
}

// useEngine begins an operation that may wait for the engine, off the loop, once few
// enough are under way.
func (l *loop) useEngine(s *slot, op operation) {
	op.async = true
	s.engine, s.op = true, op
	if l.engine.inFlight < l.engine.limit {
		l.beginUse(s)
		return
	}
	l.engine.queue = append(l.engine.queue, s)
}

func (l *loop) beginUse(s *slot) {
	l.engine.inFlight++
	s.began, s.endedBefore = l.now, l.engine.ended
	l.deadlines.set(s, l.now.Add(engineTime))
	if s.op.kind != opClose {
		l.begin(s, s.op)
		return
	}
	s.working = true
	fd := s.fd
	l.engine.closers.Submit(s.token, func() { l.sys.close(fd) })
}

// used comes when an operation that might wait for the engine has ended.
func (l *loop) used(s *slot, errno unix.Errno) {
	e := &l.engine
	e.inFlight--
	whole := (s.op.kind == opSend || s.op.kind == opNotify) && !s.op.more
	if errno == 0 && (whole || l.now.Sub(s.began) >= engineTime) {
		e.moved = l.now // it had to wait for its record, or for room in the queue
		e.ended++
	}
	s.engine, s.op, s.began = false, operation{}, time.Time{}
	if len(e.queue) > 0 {
		next := e.queue[0]
		e.queue = slices.Delete(e.queue, 0, 1)
		l.beginUse(next)
	}
}

// closeLater closes a socket that has something inside kernel TLS.
func (l *loop) closeLater(s *slot) {
	s.closing = true
	l.deadlines.set(s, l.now.Add(lastUseTime))
}

// suspect looks at an engine that s has waited for longer than it should.
func (l *loop) suspect(s *slot) {
	e := &l.engine
	l.deadlines.set(s, l.now.Add(engineTime))
	if s.conn.state == stOffload && !s.conn.offloading.Load() {
		s.began, s.endedBefore = l.now, e.ended // it is other handshakes that it waits for
		return
	}
	l.testEngine()
	overtaken := e.ended - s.endedBefore - e.limit // at least, by operations that began later
	switch {
	case e.testing || l.now.Sub(s.began) < max(l.gen.stallTimeout, 2*engineTime):
		return
	case e.passed.Sub(s.began) < engineTime && overtaken < engineOvertakes:
		return
	}
	// It answers others. This one it has forgotten.
	if l.lose(s) && e.lost >= engineLosses && !e.dead {
		l.engineDied(fmt.Errorf("it lost %d connections", e.lost))
	}
}

// engineMoves tells whether something has come of the engine lately.
func (l *loop) engineMoves() bool {
	return l.now.Sub(l.engine.moved) < engineTime || l.now.Sub(l.state.engineOut) < engineTime
}

// testEngine has the engine tested, if there is no sign that it works.
func (l *loop) testEngine() {
	e := &l.engine
	if e.dead || e.testing || l.newcomers.testing != "" || l.engineMoves() || l.now.Before(e.testAt) {
		return
	}
	l.gen.log.Warn("the crypto engine is being tested, since nothing has come of it", "driver", l.proc.drivers.asynchronous(), "for", engineTime)
	verdict := new(error)
	e.testing, e.verdict = true, verdict
	e.testBy = l.now.Add(testTime)
	l.deadlines.set(&slot{place: -1}, e.testBy) // to be awake then
	suites := l.proc.drivers.suites()
	e.test++
	e.tester.Submit(e.test, func() { *verdict = l.testCipher(l.proc.lifetime, suites) })
}

// testLate ends a test that does not end by itself.
func (l *loop) testLate() {
	if e := &l.engine; e.testing && !l.now.Before(e.testBy) && e.tester.Replace(e.test) {
		l.tested(errNoVerdict)
	}
}

// testEnded takes the end of a test, the engine's or a newcomer's.
func (l *loop) testEnded(token uint64) {
	switch e := &l.engine; {
	case token != e.test: // given up, and another has begun since
	case e.testing:
		l.tested(*e.verdict)
	case l.newcomers.testing != "":
		l.examined()
	}
}

// tested takes the outcome of a test.
func (l *loop) tested(err error) {
	e := &l.engine
	e.testing = false
	e.testAt = l.now.Add(engineRetest)
	switch {
	case l.proc.lifetime.Err() != nil: // nobody waits for it any more
	case errors.Is(err, offload.ErrInconclusive):
		l.gen.log.Warn(err.Error(), "driver", l.proc.drivers.asynchronous())
	case err == nil || l.engineMoves(): // it may be so slow that the test had no time
		if err == nil {
			e.passed = l.now
		}
		l.gen.log.Info("the crypto engine works", "driver", l.proc.drivers.asynchronous())
	default:
		l.engineDied(err)
	}
}

// engineDied ends the use of the engine, and all connections that it encrypts
// for. What waits inside the kernel stays there.
func (l *loop) engineDied(why error) {
	e := &l.engine
	e.dead, e.queue = true, nil
	l.proc.offloads.Store(false)
	text := "the crypto engine does not answer: kernel TLS is not used any more, until a restart finds it working"
	l.gen.log.Error(text, "driver", l.proc.drivers.asynchronous(), "reason", why)
	l.tell(fmt.Sprintf("%s (%s: %v)", text, l.proc.drivers.asynchronous(), why))
	for _, s := range l.slots {
		switch c := s.conn; {
		case c == nil || s.lost:
		case c.state == stOffload:
			l.lose(s) // if it has begun
		case !c.usesEngine():
		case s.engine && (s.inRing || s.working):
			l.lose(s)
		case s.inRing && c.state != stClosed:
			l.cancel(s.handle)
		case s.inRing || s.working: // perform ends it
		default:
			l.withdraw(s)
			s.engine, s.closing = false, false
			l.perform(s, operation{})
		}
	}
	l.gen.log.Error("connections were lost in the crypto engine", "connections", e.lost)
}

// tell has the service's status say what a person must know.
func (l *loop) tell(text string) {
	if l.notice != nil {
		l.notice(text)
	}
}

// giveUp ends a connection whose engine is dead. Its client learns at least that
// no more comes.
func (l *loop) giveUp(s *slot) {
	l.deadlines.set(s, time.Time{})
	if s.conn.state != stClosed {
		s.conn.reset(causeEngine, "the crypto engine does not answer")
	}
	if s.conn.sock.Empty() {
		l.begin(s, operation{kind: opClose})
		return
	}
	s.conn.sock.HangUp()
	l.lose(s)
}

// lose gives up the connection of s, which something in the kernel holds. The
// descriptor stays: a close would wait for the engine too. It tells whether that is
// so: a worker may just have come back.
func (l *loop) lose(s *slot) bool {
	switch {
	case s.working && s.conn.state == stOffload:
		if !l.handshakers.Replace(s.token) {
			return false
		}
		l.handshakes--
	case s.working:
		if !l.engine.closers.Replace(s.token) {
			return false
		}
	}
	s.lost = true
	l.uncount(s)
	l.deadlines.set(s, time.Time{})
	l.count(-1)
	l.engine.lost++
	l.gen.log.Warn("connection lost in the crypto engine", "remote", s.conn.client.peer)
	return true
}

// takeBack takes a lost connection back.
func (l *loop) takeBack(s *slot) {
	s.lost = false
	l.count(1)
	l.engine.lost--
}

// found ends a lost connection, of which the kernel has let go after all.
func (l *loop) found(s *slot, ev event) {
	alive := l.engine.moved == l.now
	l.takeBack(s)
	if s.conn.state != stClosed {
		s.conn.step(ev)
	}
	if s.conn.state != stClosed {
		s.conn.reset(causeEngine, "the crypto engine took too long")
	}
	l.perform(s, operation{kind: opClose})
	if alive && l.engine.dead && !l.engine.revived {
		l.revive()
	}
}

// revive closes what could not be closed, since an engine that was given up has
// answered. It is not used again.
func (l *loop) revive() {
	l.engine.revived = true
	l.gen.log.Warn("the crypto engine has answered after all; it stays unused", "driver", l.proc.drivers.asynchronous())
	for _, s := range l.slots {
		if s.lost && !s.inRing && !s.working {
			l.takeBack(s)
			l.useEngine(s, operation{kind: opClose})
		}
	}
}
