package server

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/flow"
)

// fill splices the next bytes of a file into the pipe.
// Invariant: the pipe is empty.
func (c *conn) fill(now time.Time) operation {
	t := &c.transfer
	p := &t.pieces[0]
	if t.checkedAt.IsZero() {
		t.checkedAt = now // the handler has just checked the file
	}
	if now.Sub(t.checkedAt) >= checkInterval {
		return c.check(now)
	}
	c.state, t.phase = stTransfer, phFillBudget
	size := int64(flow.Chunk)
	if t.pipe != nil {
		size = int64(t.pipe.size)
	}
	n := int(c.flow.Admit(min(p.n, size)))
	if n == 0 {
		r, op, ok := c.measure(now)
		if !ok {
			return op
		}
		if n = int(c.flow.Admit(min(p.n, size))); n == 0 {
			return c.waitForBudget(r, now)
		}
	}
	if t.pipe == nil {
		var err error
		if t.pipe, err = c.sock.Pipe(); err != nil {
			c.gen.log.Warn("cannot create a pipe: copying instead of splicing", "reason", err)
			return c.copyPiece(now)
		}
	}
	t.phase = phFill
	return operation{kind: opSpliceIn, file: p.file, off: p.off, n: n, pipe: t.pipe, patient: t.patient}
}

func (c *conn) filled(ev event) operation {
	t := &c.transfer
	p := &t.pieces[0]
	t.patient = false
	switch {
	case ev.busy:
		return c.copyCached()
	case ev.late: // the operation did not get the semaphore in time
		return c.copyPiece(ev.now)
	case ev.err == unix.EAGAIN:
		return c.fill(ev.now)
	case isTransient(ev.err):
		t.phase = phFillBudget
		return c.pause(ev.now)
	case ev.err == unix.EINVAL: // a file system without splice
		return c.copyPiece(ev.now)
	case ev.err != 0:
		return c.reset(causeFile, fmt.Sprintf("reading %s: %v", p.file.Name(), ev.err))
	case ev.n == 0:
		return c.reset(causeFile, fmt.Sprintf("%s was truncated while it was sent", p.file.Name()))
	}
	t.held = ev.n
	c.flow.Charge(ev.n)
	p.off += int64(ev.n)
	p.n -= int64(ev.n)
	c.wait.progressed = ev.now // a slow disk does not mean a stalled client
	// The last spliced bytes close their record, because waitForPages waits for it to leave.
	t.more = p.n > 0
	return c.gate(ev.now)
}

// chunkDone continues when the pipe is empty again.
func (c *conn) chunkDone(now time.Time) operation {
	t := &c.transfer
	if t.pieces[0].n > 0 {
		c.adjustPipe(now)
		return c.fill(now)
	}
	t.pieces = t.pieces[1:]
	return c.nextPiece(now)
}

// copyPiece reads the piece into memory when it cannot be spliced.
func (c *conn) copyPiece(now time.Time) operation {
	c.transfer.pieces[0].splice = false
	return c.nextPiece(now)
}
