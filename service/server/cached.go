package server

import (
	"bytes"
	"net/http"
	"time"

	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

// A request that the cache (http1.Cache) can answer never leaves the loop. Its answer is in memory,
// or a part of an open file; the transfer sends either like the response of a handler.

const (
	// maxInline is the largest body that is copied behind its head, so that both are one send.
	maxInline = flow.MaxRecord
	// roomSize is the size of the buffers for answers.
	roomSize = headReserve + maxInline
	// maxRooms is the largest number of unused buffers that are kept: 2 MiB.
	maxRooms = 128
	// maxUnused is the number of files that wait for their close, above which no answers are prepared.
	maxUnused = 16
)

// answers is the state of the loop's answers from the cache.
type answers struct {
	head      http1.Head   // the parser, for one request at a time
	updated   bool         // the cache knows all changes from before the last wait
	rooms     [][]byte     // unused buffers
	job       func()       // prepares an answer; the loop starts it on a worker
	preparing bool         // job has been started
	dropped   []http1.File // memory for releaseDropped
}

// cachedExchange is the part of an exchange that the cache answers.
type cachedExchange struct {
	active bool
	answer http1.Answer
	method string
	room   []byte // buffer of the answer; nil if it has been passed on
}

// answerCached answers the request whose head is the first n bytes received, if the cache has a
// valid answer. Otherwise ok is false, and a handler must answer.
func (c *conn) answerCached(n int, now time.Time) (op operation, ok bool) {
	cache, a := c.gen.cache, &c.loop.answers
	if cache == nil || c.client.metrics {
		return operation{}, false
	}
	h := &a.head
	if h.Parse(c.input.buf[:n]) != nil {
		return operation{}, false // the job of runHandler reports the error
	}
	if !a.updated {
		c.loop.updateCache(cache)
	}
	ends := h.Close || c.loop.stopping || c.yields || c.flow.KeysExhausted()
	room := a.room()
	answer, ok := cache.Answer(h, now, room, ends)
	if !ok {
		a.keep(room)
		c.loop.releaseDropped(cache)
		return operation{}, false
	}
	x := &c.exchange
	x.request, x.response, x.started, x.close = nil, nil, now, ends
	x.cached = cachedExchange{active: true, answer: answer, method: h.Method, room: answer.Head}
	if answer.File != nil { // the transfer may take long
		x.cached.answer.Head, x.cached.room = bytes.Clone(answer.Head), nil
		a.keep(answer.Head)
	}
	c.input.buf = c.input.buf[:copy(c.input.buf, c.input.buf[n:])]
	c.input.scanned = 0
	c.input.requests++
	return c.sendAnswer(now), true
}

// sendAnswer sends the answer from the cache.
func (c *conn) sendAnswer(now time.Time) operation {
	answer, t := &c.exchange.cached.answer, &c.transfer
	*t = transfer{}
	c.then = thenEndResponse
	c.wait.progressed = now
	switch body := answer.Memory; {
	case answer.File != nil && answer.N > flow.Chunk && c.transport == plain && c.place == placeUnknown:
		c.state, t.phase = stTransfer, phPlace
		c.planFile(false) // nothing is sent yet
		return operation{kind: opJob, job: func() { c.splices(c.exchange.cached.segment()) }}
	case answer.File != nil:
		return c.sendFile(now)
	case len(body) > maxInline:
		t.single[0] = piece{mem: body}
		t.pieces = t.single[:]
		t.out = answer.Head
	default:
		t.out = append(answer.Head, body...)
		c.exchange.cached.room = t.out
	}
	return c.outReady(now)
}

// sendFile sends the answer from the cache that is a part of a file.
func (c *conn) sendFile(now time.Time) operation {
	c.planFile(c.place != placeUnknown || c.transport != plain)
	return c.nextPiece(now)
}

// planFile plans the transfer of the answer's part of a file, which may be spliced if splice is true.
func (c *conn) planFile(splice bool) {
	segment := c.exchange.cached.segment()
	c.transfer.pieces = plan(c.exchange.cached.answer.Head, segment, splice && c.splices(segment))
}

// segment returns the answer's part of a file.
func (x *cachedExchange) segment() []http1.Segment {
	return []http1.Segment{{File: x.answer.File, Off: x.answer.Off, N: x.answer.N}}
}

// releaseAnswer ends the answer from the cache.
func (c *conn) releaseAnswer() {
	x := &c.exchange.cached
	if x.answer.File != nil {
		c.loop.release([]http1.Segment{{File: x.answer.File}})
	}
	if x.answer.Lease != nil {
		x.answer.Lease.Release()
	}
	if c.transfer.remaining() == 0 { // after an error, the kernel may still be reading the buffer
		c.loop.answers.keep(x.room)
	}
	*x = cachedExchange{}
}

// tokenPrepare is the token of the job that prepares an answer, in the pool of the jobs that may wait
// for storage.
const tokenPrepare = ^uint64(0)

// awaitChange waits for changes of files that the cache knows, so that their descriptors are closed
// soon even if no request arrives.
func (l *loop) awaitChange() {
	if l.gen.cache != nil {
		l.submitted(l.sys.awaitReadable(l.gen.cache.FD(), tokenCache))
	}
}

// updateCache makes the cache apply the changes from before the last wait.
func (l *loopState) updateCache(cache http1.Cache) {
	cache.Update()
	l.answers.updated = true
	l.releaseDropped(cache)
}

// releaseDropped releases the files of answers that the cache has dropped.
func (l *loopState) releaseDropped(cache http1.Cache) {
	a := &l.answers
	a.dropped = cache.Dropped(a.dropped[:0])
	for i, f := range a.dropped {
		l.release([]http1.Segment{{File: f}})
		a.dropped[i] = nil
	}
}

// wantAnswer makes the cache prepare the answer to requests like the present one, which a handler
// has answered with a file.
func (c *conn) wantAnswer() {
	cache, r := c.gen.cache, c.exchange.response
	if cache == nil || c.client.metrics || c.loop.answers.job != nil {
		return
	}
	switch r.Status {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified:
		c.loop.answers.job = cache.Prepare(c.exchange.request.URL.Path)
	}
}

// prepareAnswer starts the job that an answer was requested from, if there is one.
func (l *loop) prepareAnswer() {
	// While closing files takes long, a new answer would only add another open file.
	if job := l.shared.answers.job; job != nil && !l.shared.answers.preparing && len(l.storage.unused) <= maxUnused {
		l.shared.answers.preparing = true
		l.disk.Submit(tokenPrepare, job)
	}
}

// answerPrepared runs after the job of prepareAnswer.
func (l *loop) answerPrepared() {
	l.shared.answers.job, l.shared.answers.preparing = nil, false
	l.shared.updateCache(l.gen.cache)
}

// closeCache closes the cache, and gives up if storage hangs.
func (l *loop) closeCache() {
	if l.gen.cache == nil {
		return
	}
	closed := make(chan struct{})
	go func() {
		l.gen.cache.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(diskTime):
	}
}

// room returns an empty buffer.
func (a *answers) room() []byte {
	if n := len(a.rooms); n > 0 {
		room := a.rooms[n-1]
		a.rooms = a.rooms[:n-1]
		return room
	}
	return make([]byte, 0, roomSize)
}

// keep keeps a buffer that is no longer used for a later answer.
func (a *answers) keep(room []byte) {
	if cap(room) == roomSize && len(a.rooms) < maxRooms {
		a.rooms = append(a.rooms, room[:0])
	}
}
