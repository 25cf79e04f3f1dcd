package server

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/uring"
)

// accept queues an accept on each listener while the connection limit allows it. While many
// handshakes are queued, further TLS clients wait in the listen backlog, where they cost
// nothing. The limit may be exceeded by one for each listener, because an accept in the ring
// is not cancelled. At the limit, a client is also accepted if a connection can end in its
// favor.
func (l *loop) accept() {
	if l.shared.stopping || l.now.Before(l.resumeAt) {
		return
	}
	for i, ln := range l.listeners {
		room := l.gen.connections - (l.live - l.yielding)
		if l.yieldable > 0 {
			room = max(room, 1)
		}
		if ln.Metrics {
			room += scrapers
		}
		if room > 0 && l.accepts[i] == 0 && !(ln.TLS && l.handshakes >= maxHandshakes) {
			l.accepts[i] = l.submitted(l.sys.accept(ln.fd, tokenBase+uint64(i)))
		}
	}
}

func (l *loop) accepted(listener int, c uring.Completion) {
	l.accepts[listener] = 0
	ln := l.listeners[listener]
	if l.shared.stopping { // from now on, new clients are refused, or served by another process that holds the socket
		ln.Close()
	}
	switch errno := c.Errno(); {
	case errno == 0:
		l.open(int(c.Result), ln)
	case l.shared.stopping:
	case errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.ENOBUFS || errno == unix.ENOMEM:
		l.proc.counters.acceptFailures.Add(1)
		l.shared.logLimited(l.gen.log, lineAccept, slog.LevelWarn, "accept failed: no descriptors or memory", slog.Any("reason", errno))
		l.yield()
		l.pauseAccept()
	case errno == unix.EINVAL || errno == unix.EBADF || errno == unix.ENOTSOCK || errno == unix.EOPNOTSUPP:
		l.fatal = fmt.Errorf("server: accept on %s: %w", ln.Addr, errno)
	default: // network errors of the client: accept(2), "Error handling"
		l.gen.log.Debug("accept failed", "listener", ln.Addr, "reason", errno)
	}
}

// pauseAccept delays the next accept by acceptPause.
func (l *loop) pauseAccept() {
	l.resumeAt = l.now.Add(acceptPause)
	l.deadlines.set(&slot{heapIndex: -1}, l.resumeAt) // a slot without a connection only wakes the loop
}

// open creates a connection for an accepted socket.
func (l *loop) open(fd int, ln *Listener) {
	sock, peer, own, err := l.sys.take(fd)
	var session *ktls.Session
	if err == nil && ln.TLS {
		session, err = l.gen.sessions.Session()
	}
	if err != nil {
		l.gen.log.Debug("connection failed before its first operation", "reason", err)
		l.sys.close(fd)
		return
	}
	s := &slot{fd: fd, heapIndex: -1, conn: newConn(l.environment(), sock, endpoint{peer, own, ln.Metrics}, session)}
	i := len(l.slots)
	if n := len(l.free); n > 0 {
		i, l.free = l.free[n-1], l.free[:n-1]
		l.slots[i] = s
	} else {
		l.slots = append(l.slots, s)
	}
	s.token = uint64(i)
	l.countLive(1)
	// A limit for each client address would select the connection here, too.
	if !ln.Metrics && l.live-l.yielding > l.gen.connections {
		l.yield()
	}
	l.perform(s, s.conn.start(l.now))
}

// countLive adds n to the number of connections, and updates the share of each.
func (l *loop) countLive(n int) {
	l.live += n
	l.shared.share = l.shared.memory / int64(max(1, l.live))
}

// uncountYield removes a connection from the counts for yield.
func (l *loop) uncountYield(s *slot) {
	if s.mayYield {
		l.yieldable--
	}
	if s.yields {
		l.yielding--
	}
	s.mayYield, s.yields = false, false
}

// updateYieldable updates whether the connection could end in favor of another.
func (l *loop) updateYieldable(s *slot) {
	may := !s.yields && !s.conn.client.metrics && (s.conn.idle() || s.conn.arrived())
	switch {
	case may && !s.mayYield:
		l.yieldable++
	case !may && s.mayYield:
		l.yieldable--
	}
	s.mayYield = may
}

// yield ends a connection in favor of a waiting client: a connection whose client has
// acknowledged everything, or else the connection that has been idle longest.
// It closes in order, and does not count meanwhile; so there are never more than twice as
// many connections as the limit.
func (l *loop) yield() {
	var found *slot
	for _, s := range l.slots {
		if s.conn == nil || !s.mayYield || s.owner != ownerRing {
			continue
		}
		if found == nil || yieldsBefore(s.conn, found.conn) {
			found = s
		}
	}
	if found == nil {
		return
	}
	l.yieldable--
	l.yielding++
	found.mayYield, found.yields, found.conn.yields = false, true, true
	l.cancel(found.handle)
}

// yieldsBefore reports whether a should end rather than b.
func yieldsBefore(a, b *conn) bool {
	if a.arrived() || b.arrived() {
		return a.arrived() && (!b.arrived() || a.closing.linger.until.Before(b.closing.linger.until))
	}
	return a.input.since.Before(b.input.since)
}
