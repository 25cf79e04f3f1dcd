package server

import (
	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// What becomes of connections when the loop has ended, by Abort or a ring that
// failed.

// discard takes the completions of a loop that has ended.
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
		s.inRing, s.engine = false, false
		if s.lost {
			l.takeBack(s)
		}
		if s.conn.state == stClosed {
			if c.Errno() == unix.ECANCELED { // the close had not begun
				l.closeLast(s)
			}
			l.closed(s)
		}
	}
}

// abandon resets what is still there when the loop ends; SO_LINGER does it.
func (l *loop) abandon() {
	for _, token := range l.engine.closers.Finished(nil) {
		l.closed(l.slots[token])
	}
	for _, s := range l.slots {
		switch {
		case s.conn == nil || s.lost:
		case l.reading(s): // into the connection's memory, or a pipe of it
			l.closeLast(s)
			l.storage.left++
		case s.inRing: // the kernel does not give it back
			if s.engine {
				l.lose(s)
			}
		case s.conn.state != stClosed:
			s.conn.reset(causeStopped, "the service was ended")
			l.closeLast(s)
		default: // a close that was not begun
			l.closeLast(s)
		}
	}
}

// reading tells whether a job or a read of a file does not end. Nothing of the
// connection may be touched then but its socket.
func (l *loop) reading(s *slot) bool {
	if s.pool != nil {
		return s.pool.Runs(s.token)
	}
	return s.turns != nil && s.inRing
}

// closeLast closes a descriptor when the loop has ended. What would wait for the
// crypto engine is left to the end of the process.
func (l *loop) closeLast(s *slot) {
	if s.conn.usesEngine() && !s.conn.sock.Empty() {
		s.conn.sock.HangUp()
		return
	}
	l.sys.close(s.fd)
}

// loseRunning gives up the connections with whose sockets workers are still busy,
// when the loop has ended.
func (l *loop) loseRunning() {
	for _, s := range l.slots {
		if s.conn != nil && s.working && !s.lost {
			l.lose(s)
		}
	}
}
