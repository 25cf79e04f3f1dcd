package service

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// engineOps is how many operations may wait for the engine at a time; each
	// has one of the kernel's threads. So many are lost if it never answers, and
	// the ring has more (uring.New).
	engineOps = 4
	// engineTime is how long nothing may come of the engine, while something is
	// waited for, before it is tested.
	engineTime = 5 * time.Second
	// engineRetest is the least time between two tests that it passed.
	engineRetest = 30 * time.Second
	// engineLosses is how many connections one that passes its tests may lose
	// before it is used no more.
	engineLosses = 4
)

// ErrEngineLost is Run's error when connections are left that the crypto engine
// never gave back. Their sockets, and this process, stay until the board boots.
var ErrEngineLost = errors.New("service: connections are lost in the crypto engine; only a reboot ends this process")

// engine is what the loop knows of who encrypts for kernel TLS asynchronously. A
// send that ends a record waits for it, uninterruptibly and with the socket
// locked; so does close(2), and any send while its queue is full
// (net/tls/tls_sw.c, tls_encrypt_async_wait). One that dies takes these
// operations with it; the loop sees to it that they are few, that no other is
// begun, and that nothing else touches their sockets.
type engine struct {
	limit    int       // of inFlight
	inFlight int       // operations in the ring that may wait for it
	queue    []*slot   // that have one to begin, in order
	moved    time.Time // when it was last seen to finish something
	tester   pool      // runs the test, on a goroutine of its own
	testing  bool
	verdict  error     // of the last test
	testAt   time.Time // no test before that
	dead     bool      // it is used no more
	revived  bool      // it has answered since
	lost     int       // connections that it did not give back
}

// mayWait tells whether op may wait for the engine.
func (l *loop) mayWait(s *slot, op operation) bool {
	if !l.async || s.conn.transport != kernel {
		return false
	}
	switch op.kind {
	case opSend, opNotify, opSpliceOut, opClose:
		return true
	}
	return false
}

// useEngine begins op, off the loop, once few enough are in flight.
func (l *loop) useEngine(s *slot, op operation) {
	op.async = true
	s.engine, s.op = true, op
	l.engine.queue = append(l.engine.queue, s)
	l.nextUses()
}

func (l *loop) nextUses() {
	e := &l.engine
	for len(e.queue) > 0 && e.inFlight < e.limit {
		s := e.queue[0]
		e.queue = e.queue[1:]
		e.inFlight++
		s.began = l.now
		l.deadlines.set(s, l.now.Add(engineTime))
		l.begin(s, s.op)
	}
}

// usedEngine comes when an operation that might wait for the engine has ended.
func (l *loop) usedEngine(s *slot, errno unix.Errno) {
	e := &l.engine
	e.inFlight--
	waited := (s.op.kind == opSend || s.op.kind == opNotify) && !s.op.more && errno == 0
	s.engine, s.op = false, operation{}
	if waited || s.lost {
		e.moved = l.now
	}
	l.nextUses()
}

// suspect looks at an engine that s has waited for longer than it should.
func (l *loop) suspect(s *slot) {
	e := &l.engine
	if s.began.IsZero() || s.lost {
		return
	}
	l.deadlines.set(s, l.now.Add(engineTime))
	l.testEngine()
	if l.now.Sub(s.began) < l.stallTimeout || e.testing || s.working && !s.conn.offloading.Load() {
		return
	}
	// It answers others. This one it has forgotten.
	l.lose(s)
	if e.lost >= engineLosses && !e.dead {
		l.engineDied(fmt.Errorf("it lost %d connections", e.lost))
	}
}

// testEngine has the engine tested, if there is no sign that it works.
func (l *loop) testEngine() {
	e := &l.engine
	if e.dead || e.testing || l.now.Sub(e.moved) < engineTime || l.now.Before(e.testAt) {
		return
	}
	e.testing = true
	l.log.Warn("the crypto engine is being tested, since nothing has come of it", "driver", l.driver, "for", engineTime)
	e.tester.submit(0, func() { e.verdict = l.testCipher(l.lifetime) })
}

// engineTested takes the outcome of a test.
func (l *loop) engineTested() {
	e := &l.engine
	e.testing = false
	if e.verdict != nil && l.now.Sub(e.moved) >= engineTime {
		l.engineDied(e.verdict)
		return
	}
	e.testAt = l.now.Add(engineRetest)
	l.log.Info("the crypto engine works", "driver", l.driver)
}

// engineDied ends the use of the engine, and all connections that it encrypts
// for. What waits inside the kernel stays there.
func (l *loop) engineDied(why error) {
	e := &l.engine
	e.dead, e.queue = true, nil
	l.offloads.Store(false)
	text := "the crypto engine does not answer: kernel TLS is not used any more, until a restart finds it working"
	l.log.Error(text, "driver", l.driver, "reason", why)
	if l.notice != nil {
		l.notice(fmt.Sprintf("%s (%s: %v)", text, l.driver, why))
	}
	for _, s := range l.slots {
		switch c := s.conn; {
		case c == nil || s.lost:
		case c.state == stOffload:
			if c.offloading.Load() {
				l.lose(s)
			}
		case c.transport != kernel:
		case s.engine && s.inRing:
			l.lose(s)
		case s.inRing:
			l.cancel(s.handle)
		case s.working: // perform ends it
		default:
			l.withdraw(s)
			s.engine = false
			l.perform(s, operation{})
		}
	}
	l.log.Error("connections were lost in the crypto engine", "connections", e.lost)
}

// lose gives up the connection of s, which something in the kernel holds. The
// descriptor stays: a close would wait for the engine too.
func (l *loop) lose(s *slot) {
	s.lost = true
	l.deadlines.set(s, time.Time{})
	l.live--
	l.engine.lost++
	l.log.Warn("connection lost in the crypto engine", "remote", s.conn.remote)
	if s.conn.state == stOffload {
		l.handshakes--
		l.handshakers.lose(s.token)
	}
}

// found ends a lost connection, for which the kernel has answered after all.
func (l *loop) found(s *slot, ev event) {
	if s.conn.state == stClosed {
		l.closed(s)
	} else {
		s.conn.step(ev)
		if s.conn.state != stClosed {
			s.conn.reset("the crypto engine took too long")
		}
		l.useEngine(s, operation{kind: opClose})
	}
	if l.engine.dead && !l.engine.revived {
		l.revive()
	}
}

// loseOffloads gives up the connections whose keys the kernel is still taking,
// when the loop has ended.
func (l *loop) loseOffloads() {
	for _, s := range l.slots {
		if s.working && !s.lost && s.conn.state == stOffload {
			l.lose(s)
		}
	}
}

// revive closes what could not be closed, since an engine that was given up has
// answered. It is not used again.
func (l *loop) revive() {
	l.engine.revived = true
	l.log.Warn("the crypto engine has answered after all; it stays unused", "driver", l.driver)
	for _, s := range l.slots {
		if s.lost && !s.inRing && !s.engine && s.conn.state == stClosed {
			l.useEngine(s, operation{kind: opClose})
		}
	}
}
