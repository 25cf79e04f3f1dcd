package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

// Workers read files into memory; see storage.go.

// answer runs the handler, and reads the first piece of the response, so that a small file is
// ready to be sent. Unless wait is true, it returns http1.ErrWouldBlock instead of waiting
// for storage; the next call continues at that point. It runs on a worker.
func (c *conn) answer(wait bool) error {
	if c.exchange.response == nil {
		handler := c.gen.handler
		if c.client.metrics {
			handler = &c.proc.counters
		}
		r, err := http1.Serve(c.proc.lifetime, handler, c.exchange.request, http1.Options{MayBlock: wait, MayPostpone: c.exchange.postponed < maxPostponed})
		if err != nil {
			return err
		}
		c.exchange.response = r
		c.transfer = transfer{pieces: plan(make([]byte, headReserve), r.Segments, c.splices(r.Segments))}
	}
	c.takeRoom()
	if err := c.transfer.load(wait); err != nil {
		return err
	}
	c.closeFiles()
	return nil
}

// closeFiles closes the files of a response that is completely in memory. Files whose close may
// wait for storage are left to release.
func (c *conn) closeFiles() {
	t := &c.transfer
	if !t.ready || len(t.pieces) != 1 || t.pieces[0].n > 0 {
		return
	}
	for i := range c.exchange.response.Segments {
		if s := &c.exchange.response.Segments[i]; s.File != nil && !s.File.Deleted() {
			s.File.Release()
			s.File = nil
		}
	}
}

// A changedError reports that a file has changed since the response began.
type changedError struct{ error }

// errUndecided is a job's error if it cannot tell yet whether a file has changed.
var errUndecided = errors.New("server: the file may have changed")

// recheckDelay is the delay before the file is checked again.
const recheckDelay = 5 * time.Millisecond

// maxPostponed is the maximum number of times that the handler is postponed for a request.
const maxPostponed = 3

// dropAnswer releases a response of which nothing was sent.
func (c *conn) dropAnswer() {
	if c.exchange.response != nil {
		c.loop.release(c.exchange.response.Segments)
	}
	c.exchange.response, c.transfer = nil, transfer{}
}

// readPiece makes a worker read the missing data of the first piece; if wait is true, a worker
// that may wait for storage. In user-space TLS the worker also encrypts the data.
func (c *conn) readPiece(wait bool) operation {
	t := &c.transfer
	c.state, t.phase = stTransfer, phRead
	kind := opJob
	if wait {
		kind = opDisk
	}
	return operation{kind: kind, job: func() {
		c.takeRoom()
		if c.jobErr = t.load(wait); c.jobErr == nil && c.transport == user {
			t.plain = len(t.buf)
			t.buf, c.jobErr = c.encrypt(t.buf)
			t.encrypted = true
		}
	}}
}

// load reads the missing data of the first piece, if the piece is copied, and checks that the
// file is unchanged. It runs on a worker. Unless wait is true, it returns http1.ErrWouldBlock
// for data that is not in the page cache.
func (t *transfer) load(wait bool) error {
	p := &t.pieces[0]
	if p.file == nil || p.splice {
		return nil
	}
	read := p.file.ReadNow
	if wait {
		read = p.file.ReadAt
	}
	if t.buf == nil {
		size := len(p.mem) + int(min(p.n, flow.Chunk))
		if t.room != nil && size <= plainSize {
			t.buf = t.room[:0:size]
		} else {
			t.buf = make([]byte, 0, size)
		}
		t.buf = append(t.buf, p.mem...)
	}
	for len(t.buf) < cap(t.buf) {
		n, err := read(t.buf[len(t.buf):cap(t.buf)], p.off)
		t.buf = t.buf[:len(t.buf)+n]
		p.off += int64(n)
		p.n -= int64(n)
		switch {
		case n > 0 || errors.Is(err, unix.EINTR): // the next call returns the error, if it persists
		case err == nil || err == io.EOF:
			return fmt.Errorf("%s was truncated while it was sent", p.file.Name())
		case errors.Is(err, unix.EAGAIN) && !wait:
			if !p.cached || len(t.buf) == 0 {
				return http1.ErrWouldBlock
			}
			t.buf = t.buf[:len(t.buf):len(t.buf)]
			t.putBack()
		default:
			if whole := new(fs.PathError); errors.As(err, &whole) {
				err = whole.Err // the message below contains the file's name
			}
			return fmt.Errorf("reading %s: %w", p.file.Name(), err)
		}
	}
	decided, err := p.file.Check(wait)
	if err != nil {
		return &changedError{err}
	}
	if p.last && p.n == 0 && !decided {
		return errUndecided
	}
	t.ready = true
	return nil
}

// putBack returns the missing part of the first piece to the next, from which it was split.
func (t *transfer) putBack() {
	p, rest := &t.pieces[0], &t.pieces[1]
	rest.off -= p.n
	rest.n += p.n
	p.n = 0
}

// copyCached copies a chunk of a piece to be spliced from the page cache, while the semaphore
// for splices is held by operations that may wait for storage.
func (c *conn) copyCached() operation {
	t := &c.transfer
	rest := t.pieces[0]
	part := piece{file: rest.file, off: rest.off, n: min(rest.n, flow.Chunk), cached: true}
	rest.off += part.n
	rest.n -= part.n
	t.pieces = append([]piece{part, rest}, t.pieces[1:]...)
	return c.readPiece(false)
}

// checkInterval is the minimum time between two checks of a file while it is spliced. A client
// on a slow link receives less than a chunk in that time, and so learns of a change at the next.
const checkInterval = 100 * time.Millisecond

// check checks that the file being spliced is unchanged, so that the client learns early of a
// change. The file is checked again before the last piece.
func (c *conn) check(now time.Time) operation {
	file := c.transfer.pieces[0].file
	c.state, c.transfer.phase, c.transfer.checkedAt = stTransfer, phCheck, now
	kind, wait := opJob, false
	if !file.Local() {
		kind, wait = opDisk, true
	}
	return operation{kind: kind, job: func() { _, c.jobErr = file.Check(wait) }}
}

func (c *conn) checked(ev event) operation {
	if !ev.late && c.jobErr != nil { // late: storage does not answer
		return c.reset(causeFile, c.jobErr.Error())
	}
	// A slow disk does not mean a stalled client, and a check does not mean a live client.
	c.wait.progressed = c.wait.progressed.Add(ev.now.Sub(c.transfer.checkedAt))
	c.transfer.checkedAt = ev.now
	return c.fill(ev.now)
}

func (c *conn) pieceRead(ev event) operation {
	switch err := c.jobErr; {
	case ev.late:
		return c.reset(causeStorage, fmt.Sprintf("%s was not read within stall_timeout: storage is too slow", c.transfer.pieces[0].file.Name()))
	case err == http1.ErrWouldBlock && c.transfer.pieces[0].cached:
		t := &c.transfer
		t.putBack()
		t.pieces, t.buf = t.pieces[1:], nil
		t.patient = true
		return c.fill(ev.now)
	case err == http1.ErrWouldBlock:
		return c.readPiece(true)
	case err == errUndecided:
		c.transfer.phase = phReadAgain
		return operation{kind: opWait, deadline: ev.now.Add(recheckDelay)}
	case isTransient(err):
		c.transfer.phase = phReadAgain
		return c.pause(ev.now)
	case err != nil:
		return c.reset(causeFile, err.Error())
	}
	return c.pieceReady(ev.now)
}

// pieceReady continues with a piece that has been read.
func (c *conn) pieceReady(now time.Time) operation {
	t := &c.transfer
	p := &t.pieces[0]
	t.out, t.buf, p.mem, t.ready = t.buf, nil, nil, false
	c.wait.progressed = now // a slow disk does not mean a stalled client
	if p.n == 0 {
		t.pieces = t.pieces[1:]
	}
	return c.outReady(now)
}
