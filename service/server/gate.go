package server

import (
	"cmp"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// A connection makes the kernel hold bytes in a pipe, inside kernel TLS and in TCP's
// buffer. The meter tells how many there are in the latter two. Reading it takes
// three system calls, so a reading says how much more may be given, and the next
// one is made when that is used up.
const (
	// maxPending bounds what a connection may have inside kernel TLS. With an
	// asynchronous cipher nothing else does: poll(2) speaks of TCP's buffer, and
	// what waits for the engine is not there yet.
	maxPending = 192 << 10
	// recordOverhead is not less than what a TLS record adds to its plaintext:
	// 22 bytes in TLS 1.3, 29 in TLS 1.2.
	recordOverhead = 32
	// headroom is kept free for the overhead of what is pushed at a time.
	headroom = 8 << 10
	// minBuffer is the least that a connection's bound may be: what may be inside
	// kernel TLS, and a chunk in the pipe.
	minBuffer = 256 << 10

	minWait = time.Millisecond // between two ktls.Reading of the meter
	maxWait = 256 * time.Millisecond
)

// rooms are what may be given to the kernel before the meter must be read again.
type rooms struct {
	all int64 // bytes that the kernel may be made to hold in addition
	tls int64 // of them, those that may go into kernel TLS
}

// taken counts n bytes that the kernel holds from now on.
func (c *conn) taken(n int) { c.flow.room.all -= c.cost(n) }

// encrypts counts n bytes that have gone into kernel TLS. more: their last record
// waits for others.
func (c *conn) encrypts(n int, more bool) {
	c.flow.room.tls -= c.cost(n)
	c.countRecords(n)
	if c.flow.openRecord = (c.flow.openRecord + n) % maxRecord; !more {
		c.flow.openRecord = 0
	}
}

// maxRecords is how many TLS records may be made with one key before the connection ends
// behind the response under way: AES-GCM is safe for 2^24.5 of them (RFC 8446 section 5.5),
// and the rest is left for that response, some 100 GiB.
const maxRecords = 1 << 24

// countRecords counts the records of n bytes that are sent at a time. Bytes that fill an open
// record count as a record of their own.
func (c *conn) countRecords(n int) { c.flow.records += int64((n + maxRecord - 1) / maxRecord) }

// cost is what n bytes become at most.
func (c *conn) cost(n int) int64 {
	if c.transport != kernel {
		return int64(n)
	}
	return int64(n) + int64(n/maxRecord+2)*recordOverhead
}

// gate lets a push through while the kernel holds little enough.
func (c *conn) gate(now time.Time) operation {
	t := &c.transfer
	if t.held == 0 && len(t.out) == 0 {
		return c.fill(now)
	}
	c.state, t.phase = stTransfer, phGate
	n := c.pushable()
	if n == 0 {
		r, op, ok := c.measure(now)
		if !ok {
			return op
		}
		if n = c.pushable(); n == 0 {
			return c.waitForRoom(r, now)
		}
	}
	return c.push(n)
}

// pushable is how much of what is next may be pushed: all of it, or a good part, or
// nothing yet.
func (c *conn) pushable() int {
	n := int64(c.transfer.held)
	if n == 0 { // bytes in the pipe have been counted when they came there
		n = c.allowed(int64(len(c.transfer.out)))
	}
	if c.transport == kernel {
		if c.flow.room.tls < min(n, chunk) {
			return 0
		}
		n = min(n, c.flow.room.tls)
	}
	return int(n)
}

// allowed is how much of n bytes the kernel may be made to hold: all, or a good part,
// or nothing yet. Less would cost more than it brings.
//
// In kernel TLS that is what ends a record, since the kernel pays twice for one that
// is begun: for the plaintext, and for what it is to become.
//
// Invariant: if all that the kernel holds is an open record, which leaves only when
// more comes, something is allowed: minWindow - maxRecord is a step.
func (c *conn) allowed(n int64) int64 {
	room := c.flow.room.all
	ends := int64(maxRecord - c.flow.openRecord)
	switch {
	case room >= n:
		return n
	case c.transport == kernel && room >= ends:
		return ends + (room-ends)/maxRecord*maxRecord
	case room >= step && (c.transport != kernel || c.flow.allAcked):
		return room
	}
	return 0
}

// measure reads the meter. Where that fails the connection is gone, and ok is false.
func (c *conn) measure(now time.Time) (r ktls.Reading, op operation, ok bool) {
	r, err := c.sock.Reading()
	if err != nil {
		err = cmp.Or(c.sock.Err(), err) // it knows whether the client has ended the connection
		return r, c.fail(err), false
	}
	c.flow.pendingMax = max(c.flow.pendingMax, r.Pending)
	c.flow.window.move(r.Acked-c.flow.acked, now, c.loop.share)
	if r.Acked > c.flow.acked {
		c.flow.acked, c.flow.progressed = r.Acked, now
	}
	if c.usesEngine() {
		c.engineGave(r.Acked+r.Unacked, now)
	}
	if unsent := c.flow.window.unsent(); unsent != c.flow.unsent {
		c.flow.unsent = unsent
		c.sock.LimitUnsent(unsent)
	}
	c.flow.allAcked = r.Unacked == 0
	c.flow.room.all = min(c.gen.buffer-headroom-r.Unacked, c.flow.window.size-r.Unsent) - r.Pending - int64(c.transfer.held)
	c.flow.room.tls = maxPending - headroom - r.Pending
	if r.Received > c.input.received && c.state == stTransfer {
		if op, ended := c.overhear(r.Received); ended {
			return r, op, false
		}
	}
	return r, operation{}, true
}

func (c *conn) stalled(now time.Time) bool { return now.Sub(c.flow.progressed) >= c.gen.stallTimeout }

// waitForClient looks again a little later; nothing wakes a poller when records
// leave kernel TLS. r is the reading that was not good enough.
func (c *conn) waitForClient(r ktls.Reading, now time.Time) operation {
	if r != c.flow.lastWait {
		c.flow.backoff, c.flow.stillSince = 0, now
		c.sock.Push() // as in awaitRoom
	}
	c.flow.lastWait = r
	if err := c.sock.Err(); err != nil {
		return c.fail(err)
	}
	op := c.pause(now)
	// TCP has room, and gets nothing.
	op.stuck = r.Pending > 0 && r.Unacked == 0 && now.Sub(c.flow.stillSince) >= engineTime
	return op
}

// waitForRoom waits until the kernel may be made to hold more. What takes it from
// there is the client, and poll(2) tells when little is left to send; but it may do so
// at once, with much sent and not acknowledged.
func (c *conn) waitForRoom(r ktls.Reading, now time.Time) operation {
	t := &c.transfer
	if t.refused || c.transport == kernel && c.flow.room.tls < chunk {
		t.refused = false
		return c.waitForClient(r, now)
	}
	return c.awaitRoom(now)
}

// pause waits, longer each time, for what nothing tells of.
func (c *conn) pause(now time.Time) operation {
	if c.stalled(now) {
		if r := c.flow.lastWait; r.Pending > 0 && r.Unacked == 0 {
			return c.reset(causeEngine, "no record left kernel TLS within stall_timeout: the crypto engine is too slow")
		}
		return c.reset(causeStalled, stalledReason)
	}
	c.flow.backoff = max(minWait, min(2*c.flow.backoff, maxWait))
	return operation{kind: opWait, deadline: now.Add(c.flow.backoff)}
}

// passing tells an error that time mends: the kernel has no memory to spare now.
func passing(err error) bool { return errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) }
