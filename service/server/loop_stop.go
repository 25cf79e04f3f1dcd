package server

import (
	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// The loop stops in two steps: stop lets the transfers complete; after the loop has ended, by
// Abort or because the ring failed, the other functions handle the remaining connections.

// stop stops accepting, and closes the connections that wait for a request.
func (l *loop) stop() {
	if l.shared.stopping {
		return
	}
	l.shared.stopping = true
	l.gen.log.Info("stopping", "connections", l.live)
	for i, ln := range l.listeners {
		if l.accepts[i] != 0 {
			l.cancel(l.accepts[i])
		} else {
			ln.Close()
		}
	}
	for _, s := range l.slots {
		if s.conn != nil && s.owner == ownerRing && s.conn.idle() {
			l.cancel(s.handle)
		}
	}
}

// completeAtExit handles the completions of a loop that has ended.
func (l *loop) completeAtExit(c uring.Completion) {
	n := uint64(len(l.listeners))
	switch {
	case c.Token < tokenBase:
	case c.Token < tokenBase+n:
		if c.Result >= 0 {
			l.sys.close(int(c.Result))
		}
	default:
		s := l.slots[c.Token-tokenBase-n]
		if s.conn == nil {
			return
		}
		l.setOwner(s, ownerNone)
		if s.conn.state == stClosed {
			if c.Errno() == unix.ECANCELED { // the close had not started
				l.closeAtExit(s)
			}
			l.freeSlot(s)
		}
	}
}

// resetRemaining resets the remaining connections when the loop ends, by means of SO_LINGER.
func (l *loop) resetRemaining() {
	for _, token := range l.engine.closers.Finished(nil) {
		l.setOwner(l.slots[token], ownerNone)
		l.freeSlot(l.slots[token])
	}
	for _, s := range l.slots {
		switch {
		case s.conn == nil || s.owner.orphaned():
		case l.usesStorage(s): // into the connection's memory, or its pipe
			l.closeAtExit(s)
			l.storage.abandoned++
		case s.owner == ownerRing: // the operation does not end
		case s.owner == ownerEngine:
			l.orphan(s)
		case s.conn.state != stClosed:
			s.conn.reset(causeStopped, "the service was stopped")
			l.closeAtExit(s)
		default: // a close that was not started
			l.closeAtExit(s)
		}
	}
}

// usesStorage reports whether a job or a read of a file has not ended. Of such a connection,
// only the socket may be used.
func (l *loop) usesStorage(s *slot) bool {
	return s.owner == ownerFill || s.owner == ownerWorker && s.pool.Runs(s.token)
}

// closeAtExit closes a descriptor when the loop has ended. A close that would wait for the
// crypto engine is left to the end of the process.
func (l *loop) closeAtExit(s *slot) {
	if s.conn.usesEngine() && !s.conn.sock.Empty() {
		s.conn.sock.HangUp()
		return
	}
	l.sys.close(s.fd)
}

// orphanRunning orphans the connections whose sockets workers still use when the loop has
// ended.
func (l *loop) orphanRunning() {
	for _, s := range l.slots {
		if s.owner == ownerHandshaker || s.owner == ownerCloser {
			l.orphan(s)
		}
	}
}
