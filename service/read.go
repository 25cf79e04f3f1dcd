package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Reading files into memory, on workers: see storage.go.

// answer runs the handler, and reads the first piece of what it answers, so that a
// small file is ready to be sent. What would wait for a disk is left, with errWaits,
// unless wait is true; the next call goes on there. It runs on a worker.
func (c *conn) answer(wait bool) error {
	if c.response == nil {
		handler := c.handler
		if c.scrape {
			handler = &c.counters
		}
		r, err := serve(handler, c.request, wait)
		if err != nil {
			return err
		}
		c.response = r
		c.transfer = transfer{pieces: plan(make([]byte, headRoom), r.segments, c.splices(r.segments))}
	}
	return c.transfer.load(wait)
}

// dropAnswer gives back an answer of which nothing was sent.
func (c *conn) dropAnswer() {
	if c.response != nil {
		c.release(c.response.segments)
	}
	c.response, c.transfer = nil, transfer{}
}

// read has a worker read what the first piece lacks; one that may wait, if wait is true.
// In user-space TLS it seals that, too.
func (c *conn) read(wait bool) operation {
	t := &c.transfer
	c.state, t.phase = stTransfer, phRead
	kind := opJob
	if wait {
		kind = opDisk
	}
	return operation{kind: kind, job: func() {
		if c.jobErr = t.load(wait); c.jobErr == nil && c.transport == user {
			t.plain = len(t.buf)
			t.buf, c.jobErr = c.seal(t.buf)
			t.sealed = true
		}
	}}
}

// load reads what the first piece lacks, if it is to be in memory, and runs on a
// worker. Unless wait is true, it leaves with errWaits what is not in the page cache.
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
		t.buf = append(make([]byte, 0, len(p.mem)+int(min(p.n, chunk))), p.mem...)
	}
	for len(t.buf) < cap(t.buf) {
		n, err := read(t.buf[len(t.buf):cap(t.buf)], p.off)
		t.buf = t.buf[:len(t.buf)+n]
		p.off += int64(n)
		p.n -= int64(n)
		switch {
		case n > 0 || errors.Is(err, unix.EINTR): // what else there is to say, comes with the next call
		case err == nil || err == io.EOF:
			return fmt.Errorf("%s became shorter while it was sent", p.file.Name())
		case errors.Is(err, unix.EAGAIN) && !wait:
			return errWaits
		default:
			if whole := new(fs.PathError); errors.As(err, &whole) {
				err = whole.Err // the name is there already
			}
			return fmt.Errorf("reading %s: %w", p.file.Name(), err)
		}
	}
	return nil
}

func (c *conn) readDone(ev event) operation {
	switch err := c.jobErr; {
	case ev.late:
		return c.reset(fmt.Sprintf("%s was not read within stall_timeout: storage is too slow", c.transfer.pieces[0].file.Name()))
	case err == errWaits:
		return c.read(true)
	case passing(err):
		c.transfer.phase = phAgain
		return c.pause(ev.now)
	case err != nil:
		return c.reset(err.Error())
	}
	return c.loaded(ev.now)
}

// loaded goes on with a piece that has been read.
func (c *conn) loaded(now time.Time) operation {
	t := &c.transfer
	p := &t.pieces[0]
	t.out, t.buf, p.mem = t.buf, nil, nil
	c.progressed = now // a slow disk is not a stalled client
	switch {
	case p.n > 0:
		return c.outReady(now)
	case !p.last: // copied instead of spliced; the piece behind it settles
		t.pieces = t.pieces[1:]
		return c.outReady(now)
	}
	return c.settle(now)
}

// seal makes TLS records of plaintext, on a worker.
func (c *conn) seal(plain []byte) ([]byte, error) {
	if _, err := c.session.Write(plain); err != nil {
		return nil, err
	}
	c.countRecords(len(plain))
	return c.session.Output(), nil
}
