package server

import (
	"cmp"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// The gate passes bytes to the kernel as far as the connection's budget (service/flow) admits
// them. When it admits none, the meter is read, which sets the budget anew; if that does not help,
// the connection waits.

const (
	minWait = time.Millisecond // between two readings of the meter
	maxWait = 256 * time.Millisecond
)

// waiting is the state of waits for the client, and for kernel TLS.
type waiting struct {
	progressed  time.Time     // last sign of progress of the client
	backoff     time.Duration // length of the last pause
	pushAgain   time.Duration // see waitWritable
	pushAt      time.Time     // when waitWritable pushes again; zero: not
	undelivered bool          // the last response may have bytes that the client has not acknowledged
	reading     ktls.Reading  // made the last pause necessary
	since       time.Time     // when reading was first seen
}

// gate pushes the next bytes if the budget admits them, and waits otherwise.
func (c *conn) gate(now time.Time) operation {
	t := &c.transfer
	if t.held == 0 && len(t.out) == 0 {
		return c.fill(now)
	}
	c.state, t.phase = stTransfer, phPushBudget
	n := c.pushable()
	if n == 0 {
		r, op, ok := c.measure(now)
		if !ok {
			return op
		}
		if n = c.pushable(); n == 0 {
			return c.waitForBudget(r, now)
		}
	}
	return c.push(n)
}

// pushable returns how many of the next bytes may be pushed: all, a worthwhile part, or none
// yet.
func (c *conn) pushable() int {
	n := int64(c.transfer.held)
	if n == 0 { // bytes in the pipe were charged when they entered it
		n = c.flow.Admit(int64(len(c.transfer.out)))
	}
	return int(c.flow.AdmitPush(n))
}

// measure reads the meter. If that fails, the connection is gone, and ok is false.
func (c *conn) measure(now time.Time) (r ktls.Reading, op operation, ok bool) {
	r, err := c.sock.Reading()
	if err != nil {
		err = cmp.Or(c.sock.Err(), err) // the socket error tells whether the client has ended the connection
		return r, c.fail(err), false
	}
	if c.flow.Update(r, c.transfer.held, c.loop.share, now) {
		c.wait.progressed = now
	}
	if unsent := c.flow.Unsent(); unsent != c.notSentLimit {
		c.notSentLimit = unsent
		c.sock.LimitUnsent(unsent)
	}
	if c.usesEngine() {
		c.noteEngineOutput(r.Acked+r.Unacked, now)
	}
	if r.Received > c.input.received && c.state == stTransfer {
		if op, ended := c.readDuringResponse(r.Received); ended {
			return r, op, false
		}
	}
	return r, operation{}, true
}

func (c *conn) stalled(now time.Time) bool { return now.Sub(c.wait.progressed) >= c.gen.stallTimeout }

// pollLater polls the meter again after a backoff, because the kernel does not wake us
// when records leave kernel TLS. r is the reading that requires the wait.
func (c *conn) pollLater(r ktls.Reading, now time.Time) operation {
	if r != c.wait.reading {
		c.wait.backoff, c.wait.since = 0, now
		c.sock.Push() // see waitWritable
	}
	c.wait.reading = r
	if err := c.sock.Err(); err != nil {
		return c.fail(err)
	}
	op := c.pause(now)
	// TCP has room, and receives nothing from kernel TLS.
	op.stuck = r.Pending > 0 && r.Unacked == 0 && now.Sub(c.wait.since) >= engineTime
	return op
}

// waitForBudget waits until the kernel may hold more. Only the client's acknowledgements
// reduce the amount, and poll(2) reports room when little is left to send. It may report
// that at once if much is sent and not acknowledged.
func (c *conn) waitForBudget(r ktls.Reading, now time.Time) operation {
	t := &c.transfer
	if t.polled || c.flow.TLSFull() {
		t.polled = false
		return c.pollLater(r, now)
	}
	return c.waitWritable(now)
}

// pause waits, longer each time, for a change that causes no event.
func (c *conn) pause(now time.Time) operation {
	if c.stalled(now) {
		if r := c.wait.reading; r.Pending > 0 && r.Unacked == 0 {
			return c.reset(causeEngine, "no record left kernel TLS within stall_timeout: the crypto engine is too slow")
		}
		return c.reset(causeStalled, stalledReason)
	}
	c.wait.backoff = max(minWait, min(2*c.wait.backoff, maxWait))
	return operation{kind: opWait, deadline: now.Add(c.wait.backoff)}
}

// isTransient reports whether err is temporary: the kernel is short of memory.
func isTransient(err error) bool {
	return errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS)
}
