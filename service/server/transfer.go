package server

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

const (
	// lastPiece is the length of the end of a spliced file, which is sent from a copy once
	// the file is known to be unchanged. It is one TLS record.
	lastPiece = flow.MaxRecord
	// headReserve is reserved for the response head in front of file data that is read before the
	// head is made.
	headReserve = 512
)

// A piece is a step of a transfer: memory, followed by a part of a file.
type piece struct {
	mem    []byte
	file   http1.File
	off, n int64 // the file's part
	splice bool  // spliced through a pipe; else copied
	cached bool  // only bytes in the page cache are copied; see copyCached
	last   bool  // the file must be unchanged before the end of this piece is sent
}

// plan divides a response into pieces. Small files are read and sent together with the head;
// of a large file all but the end is spliced, if splice is true.
func plan(head []byte, segments []http1.Segment, splice bool) []piece {
	var pieces []piece
	mem := head
	for _, s := range segments {
		switch {
		case s.File == nil:
			mem = append(mem[:len(mem):len(mem)], s.Mem...)
		case s.N <= flow.Chunk || !splice:
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

// phase is the event that a transfer waits for.
type phase uint8

const (
	phPlace      phase = iota // a worker determining the place of the client; see cached.go
	phRead                    // a worker reading file data into memory
	phReadAgain               // a delay before the read is repeated
	phCheck                   // a worker checking the file
	phPages                   // the spliced pages to leave, before the last piece
	phEncrypt                 // a worker encrypting TLS records
	phPushBudget              // the kernel to hold less, before a push
	phPush                    // the socket accepting memory or the pipe's bytes
	phWritable                // room in the socket
	phFillBudget              // the kernel to hold less, before the pipe is filled
	phFill                    // file data to enter the pipe
)

func (p phase) String() string {
	return [...]string{"place", "read", "read again", "check", "pages", "encrypt", "push budget", "push", "writable", "fill budget", "fill"}[p]
}

// A transfer sends pieces in order.
type transfer struct {
	phase     phase
	pieces    []piece          // pieces left; the first is being sent
	single    [1]piece         // memory for pieces, so that one piece costs no allocation
	buf       []byte           // data read of the first piece, up to the capacity
	room      *[plainSize]byte // memory of buf, to be kept; nil: none
	records   []byte           // memory of out, to be kept; nil: none
	out       []byte           // memory being sent
	encrypted bool             // out, or the data that will become out, already consists of TLS records
	plain     int              // plaintext bytes in out, if out consists of TLS records
	pipe      *pipe            // nil until a piece is spliced
	held      int              // bytes in the pipe
	more      bool             // more data follows the current push at once
	spliced   bool             // pages of the file are in the socket's queue
	ready     bool             // buf is complete for now, and the file was unchanged
	patient   bool             // none of the next data is in memory
	checkedAt time.Time        // last check of the file that is spliced
	pushing   operation        // the push in flight
	polled    bool             // the socket accepted nothing although poll(2) reported room
}

// remaining returns how many bytes of pieces the socket has not accepted. TLS records made in user
// space that it has accepted in part count as if it had accepted none of them.
func (t *transfer) remaining() (n int64) {
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

// endTransfer releases the transfer's resources. A pipe that may hold bytes is destroyed, so
// that no byte of a file can reach the client of another.
func (c *conn) endTransfer() {
	if p := c.transfer.pipe; p != nil {
		c.countGrown(p.size, flow.Chunk)
		c.sock.ClosePipe(p)
	}
	c.transfer = transfer{}
}

// head stores the head made by write at the end of the headReserve bytes that begin the first
// piece, or in place of these bytes if it is longer.
func (t *transfer) head(write func(room []byte) []byte) {
	first := &t.pieces[0].mem
	if t.buf != nil { // the piece has been read
		first = &t.buf
	}
	room := *first
	head := write(room[:0:headReserve])
	if len(head) <= headReserve {
		*first = room[headReserve-len(head):]
		copy(*first, head)
		return
	}
	*first = append(make([]byte, 0, len(head)+cap(room)-headReserve), head...)
	*first = append(*first, room[headReserve:]...)
}

// send sends the pieces of a transfer, and continues with then.
func (c *conn) send(now time.Time, then continuation) operation {
	c.then = then
	c.wait.progressed = now
	return c.nextPiece(now)
}

// sendRaw sends TLS records made by the session, and continues with then.
func (c *conn) sendRaw(records []byte, now time.Time, then continuation) operation {
	c.transfer = transfer{out: records}
	c.then = then
	c.wait.progressed = now
	if len(records) == 0 {
		return c.proceed(now)
	}
	return c.gate(now)
}

// transferred handles the end of an operation of the transfer.
func (c *conn) transferred(ev event) operation {
	if ev.err == unix.EINTR {
		ev.err, ev.n = unix.EAGAIN, 0
	}
	switch c.transfer.phase {
	case phPlace:
		return c.sendFile(ev.now) // if no worker was free in time, from copies
	case phRead:
		return c.pieceRead(ev)
	case phReadAgain:
		return c.readPiece(false)
	case phCheck:
		return c.checked(ev)
	case phPages:
		return c.waitForPages(ev.now)
	case phEncrypt:
		return c.encryptDone(ev)
	case phPushBudget:
		return c.gate(ev.now)
	case phPush:
		return c.pushed(ev)
	case phWritable:
		return c.writableAgain(ev)
	case phFillBudget:
		return c.fill(ev.now)
	case phFill:
		return c.filled(ev)
	}
	panic(fmt.Sprintf("server: event in phase %d", c.transfer.phase))
}

// nextPiece starts the first remaining piece.
func (c *conn) nextPiece(now time.Time) operation {
	t := &c.transfer
	if len(t.pieces) == 0 {
		return c.proceed(now)
	}
	switch p := &t.pieces[0]; {
	case t.ready:
		return c.pieceReady(now)
	case p.splice && p.n == 0: // all of it was copied
		t.pieces = t.pieces[1:]
		return c.nextPiece(now)
	case p.splice:
		return c.fill(now)
	case p.file == nil:
		if c.transport == user && len(p.mem) > flow.Chunk { // bounds the memory of the records
			t.out, p.mem = p.mem[:flow.Chunk], p.mem[flow.Chunk:]
			return c.outReady(now)
		}
		t.out = p.mem
		t.pieces = t.pieces[1:]
		return c.outReady(now)
	case p.last && t.spliced:
		return c.waitForPages(now)
	}
	return c.readPiece(false)
}

// waitForPages waits until the spliced pages have left, before the end of the file is sent. They
// are pages of the page cache: until they are encrypted, or acknowledged on a plain
// connection, a change of the file changes the data that the client receives. The end of the
// file is read only after that, and sent only if the file is unchanged (load). So a client
// that has every byte has the right bytes.
func (c *conn) waitForPages(now time.Time) operation {
	t := &c.transfer
	c.state, t.phase = stTransfer, phPages
	r, op, ok := c.measure(now)
	if !ok {
		return op
	}
	if r.Pending > 0 || c.transport == plain && r.Unacked > 0 {
		return c.pollLater(r, now)
	}
	t.spliced = false
	return c.readPiece(false)
}

// maxSealed is the number of plaintext bytes of an answer from the cache that the loop's thread
// encrypts itself, since a worker would take longer to begin.
const maxSealed = 4 << 10

// outReady sends t.out, which it first encrypts in user-space TLS.
func (c *conn) outReady(now time.Time) operation {
	t := &c.transfer
	t.more = t.follows()
	if c.transport != user || t.encrypted {
		t.encrypted = false
		return c.gate(now)
	}
	if c.exchange.cached.active && len(t.out) <= maxSealed {
		plain := len(t.out)
		var err error
		if t.out, err = c.encrypt(t.out); err != nil {
			return c.reset(causeTLS, err.Error())
		}
		t.plain = plain
		return c.gate(now)
	}
	c.state, t.phase = stTransfer, phEncrypt
	return operation{kind: opJob, job: func() {
		plain := len(t.out)
		t.out, c.jobErr = c.encrypt(t.out)
		t.plain = plain
	}}
}

// follows reports whether more bytes follow at once, so that the kernel may wait for them to
// fill a record or a segment. It must not wait before waitForPages, because an open record is
// never sent, and so never leaves.
func (t *transfer) follows() bool {
	pieces := t.pieces
	if len(pieces) > 0 && pieces[0].splice && pieces[0].n == 0 { // all of it was copied
		pieces = pieces[1:]
	}
	return len(pieces) > 0 && !(pieces[0].last && t.spliced)
}

func (c *conn) encryptDone(ev event) operation {
	switch {
	case ev.late:
		return c.reset(causeBusy, "no record encrypted within stall_timeout: all workers are busy")
	case c.jobErr != nil:
		return c.reset(causeTLS, c.jobErr.Error())
	}
	return c.gate(ev.now)
}

// push sends n of the next bytes to the socket: from the pipe, or from memory.
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
	if ev.err != 0 {
		c.excuseEngine(ev.now)
	}
	switch {
	case ev.err == unix.EAGAIN && t.polled || isTransient(ev.err):
		// poll(2) and the socket disagree about room, or there is room but no memory: wait
		// rather than spin.
		t.polled = false
		r, op, ok := c.measure(ev.now)
		if !ok {
			return op
		}
		t.phase = phPushBudget
		return c.pollLater(r, ev.now)
	case ev.err == unix.EAGAIN:
		return c.waitWritable(ev.now)
	case ev.err != 0:
		return c.fail(ev.err)
	case ev.n == 0:
		return c.reset(causeSocket, "the socket accepted no bytes")
	}
	t.polled, c.wait.pushAgain = false, 0
	c.wait.progressed = ev.now // a crypto engine that keeps pushes waiting is not a stalled client
	c.sock.Sent(ev.n)
	c.flow.ChargePush(ev.n, t.pushing.more || ev.n < t.pushing.n)
	if t.held > 0 {
		t.spliced = true
		if t.held -= ev.n; t.held > 0 {
			return c.gate(ev.now)
		}
		return c.chunkDone(ev.now)
	}
	c.flow.Charge(ev.n)
	if t.out = t.out[ev.n:]; len(t.out) > 0 {
		return c.gate(ev.now)
	}
	t.out = nil
	c.recordsSent()
	return c.nextPiece(ev.now)
}

// waitWritable waits until the socket is writable again.
// Before Linux 6.5 kernel TLS passes the records of a splice to TCP with
// MSG_SENDPAGE_NOTLAST, which sends full segments only, and refuses the rest once
// they fill the socket's buffer (tls_sw_do_sendpage in net/tls/tls_sw.c,
// do_tcp_sendpages in net/ipv4/tcp.c). If a segment is larger than the buffer, nothing is
// sent, and the socket never becomes writable. Data kept back by MSG_MORE waits for a timer,
// at best. Push sends both.
//
// TCP also keeps back records that an engine finishes after this push. If nothing is in
// flight then, no acknowledgement arrives that would send them, and poll(2) does not report
// room, because too much is queued. So the push is repeated, at growing intervals, until
// nothing is inside kernel TLS any more.
func (c *conn) waitWritable(now time.Time) operation {
	c.sock.Push()
	c.transfer.phase = phWritable
	c.wait.pushAt = time.Time{}
	if c.usesEngine() {
		c.wait.pushAgain = min(max(firstPushAgain, 4*c.wait.pushAgain), c.gen.stallTimeout)
		c.wait.pushAt = now.Add(c.wait.pushAgain)
	}
	return operation{kind: opWritable, deadline: c.nextLook(now)}
}

// excuseEngine grants the client a new stall_timeout after a push that waited for the engine for so
// long that there was no reading in between.
func (c *conn) excuseEngine(now time.Time) {
	if c.usesEngine() && c.stalled(now) {
		c.wait.progressed = now
	}
}

// progressInterval is the maximum time between two readings of the meter while TCP has data to
// send. A reading tells that the client has acknowledged data since the previous reading, but not
// when, so stall_timeout is accurate to this interval.
//
// TCP_USER_TIMEOUT is no alternative. The kernel counts it from the first retransmission of
// consecutive loss recoveries (retransmits_timed_out in net/ipv4/tcp_timer.c), and so ends
// connections that make progress over a link that loses packets.
const progressInterval = time.Second

// nextLook returns the deadline of a wait for room in the socket.
func (c *conn) nextLook(now time.Time) time.Time {
	look := now.Add(min(progressInterval, c.gen.stallTimeout))
	if stall := c.wait.progressed.Add(c.gen.stallTimeout); stall.Before(look) {
		look = stall
	}
	if push := c.wait.pushAt; !push.IsZero() && push.Before(look) {
		look = push
	}
	return look
}

// firstPushAgain exceeds, as a rule, the time that an engine needs for the data queued in it.
const firstPushAgain = 16 * time.Millisecond

func (c *conn) writableAgain(ev event) operation {
	if ev.late {
		r, op, ok := c.measure(ev.now)
		if !ok {
			return op
		}
		switch push := c.wait.pushAt; {
		case c.stalled(ev.now):
			return c.reset(causeStalled, stalledReason)
		case push.IsZero() || ev.now.Before(push):
			return operation{kind: opWritable, deadline: c.nextLook(ev.now)}
		case r.Pending == 0:
			c.wait.pushAgain = c.gen.stallTimeout // no further push is needed
		}
		return c.waitWritable(ev.now)
	}
	c.wait.pushAgain, c.wait.pushAt = 0, time.Time{}
	if ev.err != 0 && ev.err != unix.EAGAIN && ev.err != unix.ECANCELED {
		return c.fail(ev.err)
	}
	c.transfer.polled = true
	return c.gate(ev.now)
}
