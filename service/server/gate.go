package server

import (
	"cmp"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// The kernel holds a connection's bytes in a pipe, inside kernel TLS and in TCP's
// buffer. The meter reads the number of bytes in the latter two. A reading takes
// three system calls, so it sets a budget for further bytes, and the next reading is
// made when that budget is used up.
const (
	// maxPending is the limit for a connection's bytes inside kernel TLS. With an
	// asynchronous cipher no other limit applies there: poll(2) covers TCP's buffer only,
	// and records that wait for the engine are not in it yet.
	maxPending = 192 << 10
	// recordOverhead is an upper bound of the bytes that a TLS record adds to its plaintext:
	// 22 bytes in TLS 1.3, 29 in TLS 1.2.
	recordOverhead = 32
	// headroom is reserved for the record overhead of the bytes pushed at a time.
	headroom = 8 << 10
	// minBuffer is the minimum of Options.Buffer: the limit inside kernel TLS, and a chunk
	// in the pipe.
	minBuffer = 256 << 10

	minWait = time.Millisecond // between two readings of the meter
	maxWait = 256 * time.Millisecond
)

// rooms is the budget of bytes that may be passed to the kernel before the next reading.
type rooms struct {
	all int64 // bytes that the kernel may hold in addition
	tls int64 // of these, bytes that may go into kernel TLS
}

// taken charges n bytes that the kernel holds from now on.
func (c *conn) taken(n int) { c.flow.room.all -= c.cost(n) }

// encrypts charges n bytes that have gone into kernel TLS. If more is true, their last
// record stays open for further bytes.
func (c *conn) encrypts(n int, more bool) {
	c.flow.room.tls -= c.cost(n)
	c.countRecords(n)
	if c.flow.openRecord = (c.flow.openRecord + n) % maxRecord; !more {
		c.flow.openRecord = 0
	}
}

// maxRecords is the number of TLS records made with a key after which the connection ends, once
// the current response is complete: AES-GCM is safe for 2^24.5 records (RFC 8446 section 5.5),
// and the difference is left for that response, some 100 GiB.
const maxRecords = 1 << 24

// countRecords counts the records of n bytes that are sent at a time. Bytes that fill an open
// record count as a separate record.
func (c *conn) countRecords(n int) { c.flow.records += int64((n + maxRecord - 1) / maxRecord) }

// cost returns an upper bound of the size of n bytes in the kernel.
func (c *conn) cost(n int) int64 {
	if c.transport != kernel {
		return int64(n)
	}
	return int64(n) + int64(n/maxRecord+2)*recordOverhead
}

// gate pushes the next bytes if the budget allows it, and waits otherwise.
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

// pushable returns how many of the next bytes may be pushed: all, a worthwhile part, or none
// yet.
func (c *conn) pushable() int {
	n := int64(c.transfer.held)
	if n == 0 { // bytes in the pipe were charged when they entered it
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

// allowed returns how many of n bytes the kernel may hold: all, a worthwhile part, or none
// yet. A smaller part would cost more than it gains.
//
// In kernel TLS such a part ends with a record, because the kernel charges an open record
// twice: for the plaintext, and for the ciphertext to come.
//
// Invariant: if the kernel holds nothing but an open record, which leaves only when more
// bytes follow, some bytes are allowed: minWindow - maxRecord is a step.
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

// measure reads the meter. If that fails, the connection is gone, and ok is false.
func (c *conn) measure(now time.Time) (r ktls.Reading, op operation, ok bool) {
	r, err := c.sock.Reading()
	if err != nil {
		err = cmp.Or(c.sock.Err(), err) // the socket error tells whether the client has ended the connection
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

// waitForClient polls the meter again after a backoff, because the kernel does not wake us
// when records leave kernel TLS. r is the reading that requires the wait.
func (c *conn) waitForClient(r ktls.Reading, now time.Time) operation {
	if r != c.flow.lastWait {
		c.flow.backoff, c.flow.stillSince = 0, now
		c.sock.Push() // see awaitRoom
	}
	c.flow.lastWait = r
	if err := c.sock.Err(); err != nil {
		return c.fail(err)
	}
	op := c.pause(now)
	// TCP has room, and receives nothing from kernel TLS.
	op.stuck = r.Pending > 0 && r.Unacked == 0 && now.Sub(c.flow.stillSince) >= engineTime
	return op
}

// waitForRoom waits until the kernel may hold more. Only the client's acknowledgements
// reduce the amount, and poll(2) reports room when little is left to send. It may report
// that at once if much is sent and not acknowledged.
func (c *conn) waitForRoom(r ktls.Reading, now time.Time) operation {
	t := &c.transfer
	if t.refused || c.transport == kernel && c.flow.room.tls < chunk {
		t.refused = false
		return c.waitForClient(r, now)
	}
	return c.awaitRoom(now)
}

// pause waits, longer each time, for a change that causes no event.
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

// passing reports whether err is temporary: the kernel is short of memory.
func passing(err error) bool { return errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) }
