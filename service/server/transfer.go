package server

import (
	"fmt"
	"slices"
	"time"
	"uringhttpd/service/http1"

	"golang.org/x/sys/unix"
)

const (
	// chunk is how much is read or sealed at a time, and spliced while the pipe
	// has not grown.
	chunk = 64 << 10
	// lastPiece is how much of a spliced file is kept back, and sent from a
	// copy once the file is known to be what it was: one TLS record.
	lastPiece = maxRecord
	// maxRecord is the most that a TLS record holds.
	maxRecord = 16 << 10
	// headRoom is kept free for a response's head in front of what is read before it is
	// made.
	headRoom = 512
)

// A piece is a step of a transfer: memory, then a part of a file.
type piece struct {
	mem    []byte
	file   http1.File
	off, n int64 // the file's part
	splice bool  // it goes through a pipe; else it is copied
	cached bool  // only what is in memory is copied, see copyCached
	last   bool  // the file must be unchanged before the end of this piece is sent
}

// plan cuts a response into pieces. Small files are read and sent with the head
// in one go; of a large one all but the end is spliced, if splice is true.
func plan(head []byte, segments []http1.Segment, splice bool) []piece {
	var pieces []piece
	mem := head
	for _, s := range segments {
		switch {
		case s.File == nil:
			mem = append(mem[:len(mem):len(mem)], s.Mem...)
		case s.N <= chunk || !splice:
			pieces = append(pieces, piece{mem: mem, file: s.File, off: s.Off, n: s.N, last: true})
			mem = nil
		default:
			if len(mem) > 0 {
				pieces = append(pieces, piece{mem: mem})
			}
			cut := s.N - lastPiece
			pieces = append(pieces,
				piece{file: s.File, off: s.Off, n: cut, splice: true},
				piece{file: s.File, off: s.Off + cut, n: lastPiece, last: true})
			mem = nil
		}
	}
	if len(mem) > 0 {
		pieces = append(pieces, piece{mem: mem})
	}
	return pieces
}

// splices reports whether a response's files may go to the socket as pages of the page
// cache. On a plain connection within this machine they may not: the acknowledged bytes
// still are those pages until the client reads them, and a file that changes then changes
// what it reads. It runs on a worker.
func (c *conn) splices(segments []http1.Segment) bool {
	if c.transport != plain {
		return c.transport == kernel
	}
	if !slices.ContainsFunc(segments, func(s http1.Segment) bool { return s.File != nil && s.N > chunk }) {
		return false // there is nothing to splice
	}
	if c.place == placeUnknown {
		c.place = placeElsewhere
		if c.proc.sameHost(c.client.peer.Addr(), c.client.own.Addr()) {
			c.place = placeHere
		}
	}
	return c.place == placeElsewhere
}

// A place is where a client is.
type place uint8

const (
	placeUnknown   place = iota
	placeHere            // on this machine, in this network namespace
	placeElsewhere       // behind a network device
)

// phase is what a transfer waits for.
type phase uint8

const (
	phRead   phase = iota // a worker, reading bytes of a file into memory
	phAgain               // a moment, before that is tried again
	phCheck               // a worker, looking at the file
	phSettle              // what was spliced to have left, before the last piece
	phSeal                // a worker, making TLS records
	phGate                // the kernel to hold less, before a push
	phPush                // the socket, taking memory or the pipe's bytes
	phRoom                // room in the socket
	phHold                // the kernel to hold less, before more is put into the pipe
	phFill                // bytes of a file, into the pipe
)

func (p phase) String() string {
	return [...]string{"read", "read again", "check", "settle", "seal", "gate", "push", "room", "hold", "fill"}[p]
}

// A transfer sends pieces in order.
type transfer struct {
	phase     phase
	pieces    []piece   // what is left; the first is being sent
	buf       []byte    // what there is of a piece that is read into memory, up to its capacity
	out       []byte    // memory on its way to the socket
	sealed    bool      // out, or what is to be that, is TLS records already
	plain     int       // bytes of plaintext in out, if that is TLS records
	pipe      *pipe     // nil until something is spliced
	held      int       // bytes in the pipe
	more      bool      // of what is being pushed: something follows at once
	spliced   bool      // pages of the file are in the socket's queue
	ready     bool      // buf is all that is to be read of the first piece for now, and right
	patient   bool      // nothing of what is next is in memory
	checkedAt time.Time // when the file that is spliced was last looked at
	pushing   operation // the push in flight
	refused   bool      // the socket took nothing although poll said it would
}

// left returns how many bytes of pieces the socket has not accepted. In user-space TLS
// records that it has accepted in part count as if it had none of them.
func (t *transfer) left() (n int64) {
	for i, p := range t.pieces {
		n += p.n
		if i > 0 || t.buf == nil { // else mem is in buf
			n += int64(len(p.mem))
		}
	}
	out := len(t.out)
	if out > 0 && t.plain > 0 {
		out = t.plain
	}
	return n + int64(out+len(t.buf)+t.held)
}

// endTransfer gives back what the transfer holds. A pipe that may hold bytes is
// destroyed; so no byte of one file can reach the client of another.
func (c *conn) endTransfer() {
	if p := c.transfer.pipe; p != nil {
		c.resized(p.size, chunk)
		c.sock.ClosePipe(p)
	}
	c.transfer = transfer{}
}

// head puts the head that write makes into the headRoom bytes that the first piece begins
// with, or in their place.
func (t *transfer) head(write func(room []byte) []byte) {
	first := &t.pieces[0].mem
	if t.buf != nil { // it has been read
		first = &t.buf
	}
	room := *first
	head := write(room[:0:headRoom])
	if len(head) <= headRoom {
		*first = room[headRoom-len(head):]
		copy(*first, head)
		return
	}
	*first = append(make([]byte, 0, len(head)+cap(room)-headRoom), head...)
	*first = append(*first, room[headRoom:]...)
}

// send sends the pieces of a transfer, and goes on with then.
func (c *conn) send(now time.Time, then func(time.Time) operation) operation {
	c.then = then
	c.flow.progressed = now
	return c.nextPiece(now)
}

// sendRaw sends TLS records that the session made.
func (c *conn) sendRaw(records []byte, now time.Time, then func(time.Time) operation) operation {
	c.transfer = transfer{out: records}
	c.then = then
	c.flow.progressed = now
	if len(records) == 0 {
		return then(now)
	}
	return c.gate(now)
}

// transferred takes the end of a transfer's operation.
func (c *conn) transferred(ev event) operation {
	if ev.err == unix.EINTR {
		ev.err, ev.n = unix.EAGAIN, 0
	}
	switch c.transfer.phase {
	case phRead:
		return c.readDone(ev)
	case phAgain:
		return c.read(false)
	case phCheck:
		return c.checked(ev)
	case phSettle:
		return c.settle(ev.now)
	case phSeal:
		return c.sealDone(ev)
	case phGate:
		return c.gate(ev.now)
	case phPush:
		return c.pushed(ev)
	case phRoom:
		return c.roomDone(ev)
	case phHold:
		return c.fill(ev.now)
	case phFill:
		return c.filled(ev)
	}
	panic(fmt.Sprintf("server: event in phase %d", c.transfer.phase))
}

// nextPiece starts the first of the pieces that are left.
func (c *conn) nextPiece(now time.Time) operation {
	t := &c.transfer
	if len(t.pieces) == 0 {
		return c.then(now)
	}
	switch p := &t.pieces[0]; {
	case t.ready:
		return c.loaded(now)
	case p.splice && p.n == 0: // all of it was copied
		t.pieces = t.pieces[1:]
		return c.nextPiece(now)
	case p.splice:
		return c.fill(now)
	case p.file == nil:
		t.out = p.mem
		t.pieces = t.pieces[1:]
		return c.outReady(now)
	case p.last && t.spliced:
		return c.settle(now)
	}
	return c.read(false)
}

// settle is the seal. Spliced pages are the page cache's own: until they are
// encrypted, or on a plain connection acknowledged, a change of the file
// changes what the client gets. The end of the file is read only after that,
// and goes out only if the file is still the same (load); so a client with every
// byte has the right ones.
func (c *conn) settle(now time.Time) operation {
	t := &c.transfer
	c.state, t.phase = stTransfer, phSettle
	r, op, ok := c.measure(now)
	if !ok {
		return op
	}
	if r.Pending > 0 || c.transport == plain && r.Unacked > 0 {
		return c.waitForClient(r, now)
	}
	t.spliced = false
	return c.read(false)
}

// outReady sends t.out, sealed first where that is done here.
func (c *conn) outReady(now time.Time) operation {
	t := &c.transfer
	t.more = t.follows()
	if c.transport != user || t.sealed {
		t.sealed = false
		return c.gate(now)
	}
	c.state, t.phase = stTransfer, phSeal
	return operation{kind: opJob, job: func() {
		plain := len(t.out)
		t.out, c.jobErr = c.seal(t.out)
		t.plain = plain
	}}
}

// follows tells whether more bytes come at once after those on their way, so
// that the kernel may wait for them to fill a record or a segment. It must not
// before a settle: an open record is never sent, and never leaves.
func (t *transfer) follows() bool {
	pieces := t.pieces
	if len(pieces) > 0 && pieces[0].splice && pieces[0].n == 0 { // all of it was copied
		pieces = pieces[1:]
	}
	return len(pieces) > 0 && !(pieces[0].last && t.spliced)
}

func (c *conn) sealDone(ev event) operation {
	switch {
	case ev.late:
		return c.reset(causeBusy, "no record encrypted within stall_timeout: all workers are busy")
	case c.jobErr != nil:
		return c.reset(causeTLS, c.jobErr.Error())
	}
	return c.gate(ev.now)
}

// push gives the socket n bytes of what is next: the pipe's, or memory.
func (c *conn) push(n int) operation {
	t := &c.transfer
	t.phase = phPush
	if t.held > 0 {
		t.pushing = operation{kind: opSpliceOut, pipe: t.pipe, n: n, more: t.more || n < t.held}
	} else {
		t.pushing = operation{kind: opSend, buf: t.out[:n], n: n, more: t.more || n < len(t.out)}
	}
	return t.pushing
}

func (c *conn) pushed(ev event) operation {
	t := &c.transfer
	switch {
	case ev.err == unix.EAGAIN && t.refused || passing(ev.err):
		// poll(2) and the socket disagree about room, or there is room and no
		// memory: do not spin on it.
		t.refused = false
		r, op, ok := c.measure(ev.now)
		if !ok {
			return op
		}
		t.phase = phGate
		return c.waitForClient(r, ev.now)
	case ev.err == unix.EAGAIN:
		return c.awaitRoom(ev.now)
	case ev.err != 0:
		return c.fail(ev.err)
	case ev.n == 0:
		return c.reset(causeSocket, "the socket accepted no bytes")
	}
	t.refused, c.flow.pushAgain = false, 0
	c.flow.progressed = ev.now // a crypto engine that keeps pushes waiting is not a stalled client
	c.sock.Sent(ev.n)
	c.encrypts(ev.n, t.pushing.more || ev.n < t.pushing.n)
	if t.held > 0 {
		t.spliced = true
		if t.held -= ev.n; t.held > 0 {
			return c.gate(ev.now)
		}
		return c.chunkDone(ev.now)
	}
	c.taken(ev.n)
	if t.out = t.out[ev.n:]; len(t.out) > 0 {
		return c.gate(ev.now)
	}
	t.out = nil
	return c.nextPiece(ev.now)
}

// awaitRoom waits until the client has taken enough for the socket to take more.
// Before Linux 6.5 kernel TLS gives TCP the records of a splice with
// MSG_SENDPAGE_NOTLAST, which sends full segments alone, and refuses the rest once
// they fill the socket's buffer (tls_sw_do_sendpage in net/tls/tls_sw.c,
// do_tcp_sendpages in net/ipv4/tcp.c). Where a segment has room for more than the
// buffer, nothing is sent, and no room ever comes. What MSG_MORE keeps waits for a
// timer, at best.
//
// What an engine finishes after this push is kept by TCP again. If nothing is in flight
// then, no acknowledgement comes that would send it, and poll(2) tells nothing, since too
// much waits to be sent. So it is pushed again, less and less often, until nothing is
// inside kernel TLS any more.
func (c *conn) awaitRoom(now time.Time) operation {
	c.sock.Push()
	c.transfer.phase = phRoom
	op := operation{kind: opRoom, deadline: now.Add(c.gen.stallTimeout)}
	if stall := c.flow.progressed.Add(c.gen.stallTimeout); stall.After(now) {
		op.deadline = stall
	}
	if c.usesEngine() {
		c.flow.pushAgain = min(max(firstPushAgain, 4*c.flow.pushAgain), c.gen.stallTimeout)
		if next := now.Add(c.flow.pushAgain); next.Before(op.deadline) {
			op.deadline = next
		}
	}
	return op
}

// firstPushAgain is more than an engine needs for what it is given at a time, as a rule.
const firstPushAgain = 16 * time.Millisecond

func (c *conn) roomDone(ev event) operation {
	if ev.late {
		r, op, ok := c.measure(ev.now)
		if !ok {
			return op
		}
		switch {
		case c.stalled(ev.now):
			return c.reset(causeStalled, stalledReason)
		case r.Pending == 0:
			c.flow.pushAgain = c.gen.stallTimeout // this push is the last that is needed
		}
		return c.awaitRoom(ev.now)
	}
	c.flow.pushAgain = 0
	if ev.err != 0 && ev.err != unix.EAGAIN && ev.err != unix.ECANCELED {
		return c.fail(ev.err)
	}
	c.transfer.refused = true
	return c.gate(ev.now)
}

// fill moves the next bytes of a file into the pipe.
// Invariant: the pipe is empty.
func (c *conn) fill(now time.Time) operation {
	t := &c.transfer
	p := &t.pieces[0]
	if t.checkedAt.IsZero() {
		t.checkedAt = now // the handler has just looked
	}
	if now.Sub(t.checkedAt) >= checkInterval {
		return c.check(now)
	}
	c.state, t.phase = stTransfer, phHold
	size := int64(chunk)
	if t.pipe != nil {
		size = int64(t.pipe.size)
	}
	n := int(c.allowed(min(p.n, size)))
	if n == 0 {
		r, op, ok := c.measure(now)
		if !ok {
			return op
		}
		if n = int(c.allowed(min(p.n, size))); n == 0 {
			return c.waitForRoom(r, now)
		}
	}
	if t.pipe == nil {
		var err error
		if t.pipe, err = c.sock.Pipe(); err != nil {
			c.gen.log.Warn("copying instead of splicing", "reason", err)
			return c.copyInstead(now)
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
	case ev.late: // it never had its turn
		return c.copyInstead(ev.now)
	case ev.err == unix.EAGAIN:
		return c.fill(ev.now)
	case passing(ev.err):
		t.phase = phHold
		return c.pause(ev.now)
	case ev.err == unix.EINVAL: // a file system without splice
		return c.copyInstead(ev.now)
	case ev.err != 0:
		return c.reset(causeFile, fmt.Sprintf("reading %s: %v", p.file.Name(), ev.err))
	case ev.n == 0:
		return c.reset(causeFile, fmt.Sprintf("%s became shorter while it was sent", p.file.Name()))
	}
	t.held = ev.n
	c.taken(ev.n)
	p.off += int64(ev.n)
	p.n -= int64(ev.n)
	c.flow.progressed = ev.now // a slow disk is not a stalled client
	// The end of what is spliced closes its record: the settle that follows
	// waits for it to leave.
	t.more = p.n > 0
	return c.gate(ev.now)
}

// chunkDone comes when the pipe is empty again.
func (c *conn) chunkDone(now time.Time) operation {
	t := &c.transfer
	if t.pieces[0].n > 0 {
		c.fit(now)
		return c.fill(now)
	}
	t.pieces = t.pieces[1:]
	return c.nextPiece(now)
}

// copyInstead reads into memory what could not be spliced.
func (c *conn) copyInstead(now time.Time) operation {
	c.transfer.pieces[0].splice = false
	return c.nextPiece(now)
}
