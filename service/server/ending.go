package server

import (
	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// This file handles the remaining connections after the loop has ended, by Abort or because
// the ring failed.

// discard handles the completions of a loop that has ended.
func (l *loop) discard(c uring.Completion) {
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
				l.closeLast(s)
			}
			l.closed(s)
		}
	}
}

// abandon resets the remaining connections when the loop ends, by means of SO_LINGER.
func (l *loop) abandon() {
	for _, token := range l.engine.closers.Finished(nil) {
		l.setOwner(l.slots[token], ownerNone)
		l.closed(l.slots[token])
	}
	for _, s := range l.slots {
		switch {
		case s.conn == nil || s.owner.lost():
		case l.reading(s): // into the connection's memory, or its pipe
			l.closeLast(s)
			l.storage.left++
		case s.owner == ownerRing: // the operation does not end
		case s.owner == ownerEngine:
			l.lose(s)
		case s.conn.state != stClosed:
			s.conn.reset(causeStopped, "the service was ended")
			l.closeLast(s)
		default: // a close that was not started
			l.closeLast(s)
		}
	}
}

// reading reports whether a job or a read of a file has not ended. Of such a connection,
// only the socket may be used.
func (l *loop) reading(s *slot) bool {
	return s.owner == ownerRead || s.owner == ownerWorker && s.pool.Runs(s.token)
}

// closeLast closes a descriptor when the loop has ended. A close that would wait for the
// crypto engine is left to the end of the process.
func (l *loop) closeLast(s *slot) {
	if s.conn.usesEngine() && !s.conn.sock.Empty() {
		s.conn.sock.HangUp()
		return
	}
	l.sys.close(s.fd)
}

// loseRunning orphans the connections whose sockets workers still use when the loop has
// ended.
func (l *loop) loseRunning() {
	for _, s := range l.slots {
		if s.owner == ownerHandshaker || s.owner == ownerCloser {
			l.lose(s)
		}
	}
}
