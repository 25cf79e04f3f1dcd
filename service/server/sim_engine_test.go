package server

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// simEngine is the engine of the asynchronous drivers of a simulated world.
type simEngine struct {
	mortal    bool // it dies at some time
	immortal  bool // after that it works again, at some time
	composite bool // it computes with a key as soon as it has it
	full      bool // while it is dead its queue is full: whole records wait too
	dead      bool // it finishes nothing
	died      bool // it was, once
}

var errSimDead = errors.New("the engine is dead")

func (w *world) newEngine() (e simEngine) {
	if w.kernelTLS && (w.driver.async || w.otherDriver != nil && w.otherDriver.async) {
		e = simEngine{mortal: w.chance(150), immortal: w.chance(300), composite: w.chance(300), full: w.chance(300)}
	}
	return e
}

// fate makes the engine die, or work again.
func (w *world) injectFailures() {
	w.disk.injectFailures(w)
	e := &w.engine
	switch {
	case e.mortal && !e.died && w.chance(20):
		e.dead, e.died = true, true
		for _, c := range w.clients {
			if c.tls != nil {
				c.excused("the engine died")
			}
		}
	case e.dead && e.immortal && w.chance(2):
		e.dead = false
	}
}

// testCipher is the service's test of the engine.
func (w *world) testCipher(context.Context, []uint16) error {
	if w.engine.dead {
		return errSimDead
	}
	return nil
}

// holds reports whether the engine has records of the socket.
func (s *simSocket) holds() bool {
	if s.tls == nil || !s.tls.driver.async {
		return false
	}
	for _, r := range s.tls.made {
		if r.sealed == nil {
			return true
		}
	}
	return false
}

// sealAll makes the engine complete all its records of the socket.
func (s *simSocket) sealAll() {
	for i := range s.tls.made {
		if s.tls.made[i].sealed == nil {
			s.seal(&s.tls.made[i])
		}
	}
}

// touched is called by each system call that locks the socket.
func (s *simSocket) touched() {
	if s.locked {
		s.w.fault("a call on a socket that waits for the engine: the loop waits too")
	}
}

// waitsForEngine reports whether f, which has done its work, still waits.
func (w *world) waitsForEngine(f *flight, s *simSocket) bool {
	whole := f.op.kind == opSend || f.op.kind == opAlert
	if whole && !f.op.more || w.engine.dead && w.engine.full && (whole || f.op.kind == opSpliceOut) {
		return s.holds()
	}
	return false
}

// mustLeaveLoop reports whether op could block the loop's thread. A close blocks it even in
// the ring, because it completes before it waits.
func (w *world) mustLeaveLoop(s *simSocket, op operation) bool {
	return s.tls != nil && s.tls.driver.async && (op.kind == opSend || op.kind == opAlert)
}

// stops reports whether a job waits for the engine or the disk.
func (w *world) stops(j simJob) bool {
	switch j.pool {
	case w.loop.disk:
		return !j.begun || w.disk.hangs
	case w.loop.engine.closers:
		return w.sockets[w.loop.slots[j.token].fd].holds()
	case w.loop.handshakers:
		if !w.engine.dead || !w.engine.composite || !w.driver.async {
			return false
		}
		c := w.loop.slots[j.token].conn
		if c.state != stOffload || !c.proc.offloads.Load() && !c.offloading.Load() {
			return false
		}
		c.offloading.Store(true)
		return true
	}
	return false
}

// remains returns an error if the service has left anything behind without a reason.
func (w *world) remains() error {
	e := &w.loop.engine
	hanging := w.hanging()
	switch {
	case !w.engine.died && (e.dead || e.orphaned > 0):
		return fmt.Errorf("the engine works, and was given up: dead %v, %d lost", e.dead, e.orphaned)
	case w.engine.died:
		for _, s := range w.loop.slots {
			if e.recovered && !w.engine.dead && s.owner == ownerOrphan && w.loop.stopRequest.Load() != stopNow {
				return fmt.Errorf("the engine goes again, and descriptor %d stays lost", s.fd)
			}
		}
		hung := 0
		for _, f := range w.flights {
			if f.waiting {
				hung++
			}
		}
		if hung+hanging.flights < len(w.flights) || hung > e.limit {
			return fmt.Errorf("%d operations are left, %d of them in the engine, %d of the disk", len(w.flights), hung, hanging.flights)
		}
		held := 0
		for fd, s := range w.sockets {
			if w.engine.dead && !s.kept && !s.locked && !s.holds() && !w.offloading(fd) && s.pendingBytes() == 0 {
				return fmt.Errorf("descriptor %d is left, of which the engine has nothing", fd)
			}
			held++
		}
		if len(w.pipes) > hung+hanging.all() || held+hanging.all() == 0 && w.refs > 0 {
			return fmt.Errorf("%d pipes and %d references to files are left", len(w.pipes), w.refs)
		}
	case hanging.all() > 0:
		if len(w.jobs) > hanging.jobs || len(w.flights) > hanging.flights || len(w.pipes) > hanging.all() || hanging.jobs > w.disk.workers || hanging.flights > w.fills {
			return fmt.Errorf("%d jobs, %d operations, %d pipes are left, of the disk %+v", len(w.jobs), len(w.flights), len(w.pipes), hanging)
		}
		for fd, s := range w.sockets {
			if !s.kept {
				return fmt.Errorf("descriptor %d is left", fd)
			}
		}
	case len(w.sockets)+len(w.pipes)+w.refs+w.leases+len(w.flights)+len(w.jobs) != 0 && !w.unclean():
		return fmt.Errorf("%d descriptors, %d pipes, %d references to files, %d leases of answers, %d operations, %d jobs are left",
			len(w.sockets), len(w.pipes), w.refs, w.leases, len(w.flights), len(w.jobs))
	}
	return nil
}

// offloading reports whether a worker is installing the keys of fd in the kernel.
func (w *world) offloading(fd int) bool {
	for _, s := range w.loop.slots {
		if s.conn != nil && s.fd == fd && (s.owner == ownerHandshaker || s.owner == ownerOrphanOnWorker) && s.conn.state == stOffload {
			return true
		}
	}
	return false
}

// unclean reports whether the service was aborted with nothing left but sockets
// with records in the engine: the end of the process closes them.
func (w *world) unclean() bool {
	for _, s := range w.sockets {
		if !s.kept {
			return false
		}
	}
	return w.loop.stopRequest.Load() == stopNow && len(w.pipes)+w.refs+len(w.flights)+len(w.jobs) == 0
}

// The socket interface, as far as it concerns the engine.

func (s *simSocket) Err() error { return nil }

func (s *simSocket) Empty() bool {
	r, err := s.Reading()
	return (err == nil || errors.Is(err, unix.ECONNRESET)) && r.Pending <= 0
}

// HangUp is SHUT_RDWR: no more bytes enter TCP's queue.
func (s *simSocket) HangUp() {
	s.touched()
	s.kept = true
	if s.dead == 0 {
		s.shut, s.fin, s.cut = true, true, true
	}
}
