package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/service/http1"
	"uringhttpd/service/journal"
)

// state is what a connection waits for. In the order of a connection's life.
type state uint8

const (
	stHandshakeInput state = iota // the client's part of the TLS handshake
	stHandshakeWork               // a worker, computing the handshake
	stOffload                     // a worker, handing the keys to the kernel
	stRequest                     // a request's head, or its rest
	stHandler                     // a worker, running the handler
	stPostponed                   // a moment, before the handler runs again
	stTransfer                    // a step of sending, see transfer.go
	stDrain                       // kernel TLS to be empty, before and after the last word
	stNotify                      // the last word, an alert, to be taken
	stNotifyRoom                  // room for it
	stLinger                      // the client to have it all
	stClosed                      // the descriptor's close
)

// transport is how bytes leave. All three run through the same states.
type transport uint8

const (
	plain   transport = iota // TCP
	kernel                   // plaintext to the kernel, which makes TLS records
	user                     // TLS records made here
	unknown                  // TLS, before the handshake is done: nothing but its records may be sent
)

func (t transport) String() string {
	return [...]string{"plain", "kernel TLS", "user-space TLS", "handshake"}[t]
}

// settings are what all connections of a server share.
type settings struct {
	handler       http.Handler
	sessions      *ktls.Server // nil: no TLS
	offloads      atomic.Bool  // try kernel TLS; only the loop changes it
	require       bool         // and take nothing else
	drivers       drivers      // who encrypts there
	headerTimeout time.Duration
	idleTimeout   time.Duration
	stallTimeout  time.Duration
	engineOut     time.Time // when an asynchronous cipher was last seen to give something to TCP; only the loop changes it
	buffer        int64     // bytes that the kernel may hold for a connection
	memory        int64     // bytes that the kernel should hold, at most, that are not sent yet
	share         int64     // of memory, of each connection; only the loop changes it
	grown         int       // pipes that have; only the loop changes it
	log           *slog.Logger
	access        bool
	sameHost      func(peer, own netip.Addr) bool // is the client on this machine
	lifetime      context.Context                 // of requests
	giveBack      func([]http1.Segment)           // releases their files off the loop, if that waits for a disk; nil: release
	stopping      bool                            // no further requests; only the loop changes it
	repeats       repeats                         // log lines that clients can cause
	counters      counters
}

// A conn is one connection. Only one goroutine at a time has it: the loop, or a
// worker between an opJob and its event.
type conn struct {
	*settings
	sock      socket
	remote    string
	state     state
	transport transport
	peer, own netip.Addr     // of the TCP connection
	place     place          // of the client; only a plain connection asks for it
	scrape    bool           // it is given the metrics, and not counted
	session   *ktls.Session  // nil on a plain connection
	by        offload.Driver // in the kernel
	async     bool           // what is sent may have to wait for it

	in       []byte    // received and not yet used: decrypted
	scanned  int       // bytes of in that do not hold the end of a head
	wire     []byte    // buffer for what is received before it is decrypted
	since    time.Time // when the wait for the handshake, or for a request, began
	headAt   time.Time // when the first byte of the head came; zero before that
	requests int       // answered

	request   *http.Request // nil when it could not be parsed
	bodiless  bool          // its method is HEAD, though it may not have been parsed
	response  *http1.Response
	started   time.Time
	postponed int   // how often the handler for the request was
	close     bool  // no request after this one
	left      bool  // the client has ended the connection, or said that it does
	jobErr    error // of the last job
	jobDone   bool

	offloading atomic.Bool // the worker has begun to hand over the keys

	transfer   transfer
	then       func(now time.Time) operation // what follows the transfer
	acked      int64                         // by the client, at progressed
	given      int64                         // to TCP, at the last reading; 0 before the first
	progressed time.Time                     // the last sign that the client takes something
	backoff    time.Duration
	pushAgain  time.Duration // see awaitRoom
	lastWait   ktls.Reading
	stillSince time.Time // when lastWait was first read
	pendingMax int64
	room       rooms
	window     window
	begun      int  // bytes of a record that waits for more, about: short sends may end one
	allAcked   bool // at the last reading
	unsent     int  // what the socket was told of that

	received int64 // bytes taken from the socket; a FIN that was seen counts as one
	records  int64 // TLS records made with the connection's keys, or more; see maxRecords
	yields   bool  // another client waits for this connection's place
	heard    int   // bytes that the client has said since nothing but an alert matters
	deaf     bool  // what it says is not opened any more

	drained  func(now time.Time) operation // what follows the drain
	lastWord ktls.Message                  // the alert before FIN, in kernel TLS
	linger   lingering
}

// newConn takes a connection that the loop accepted.
func newConn(s *settings, sock socket, remote string, session *ktls.Session) *conn {
	c := &conn{settings: s, sock: sock, remote: remote, session: session}
	c.window.move(0, time.Time{}, s.share)
	c.room.all, c.unsent = c.window.size, minUnsent // nothing is there
	if session != nil {
		c.transport = unknown
	}
	return c
}

// start is the connection's first step.
func (c *conn) start(now time.Time) operation {
	c.since, c.progressed = now, now
	if c.session != nil {
		return c.receiveHandshake(now)
	}
	return c.nextRequest(now)
}

// step takes the end of the operation that the last step asked for.
func (c *conn) step(ev event) operation {
	switch c.state {
	case stHandshakeInput:
		return c.handshakeInput(ev)
	case stHandshakeWork:
		return c.handshakeWorked(ev.now)
	case stOffload:
		return c.offloaded(c.jobErr, ev.now)
	case stRequest:
		return c.requestInput(ev)
	case stHandler:
		return c.handled(ev)
	case stPostponed:
		c.state = stHandler
		return operation{kind: opJob, job: func() { c.jobErr = c.answer(false) }}
	case stTransfer:
		return c.transferred(ev)
	case stDrain:
		return c.drain(ev.now, c.drained)
	case stNotify:
		return c.notifyDone(ev)
	case stNotifyRoom:
		return c.notifyRoom(ev)
	case stLinger:
		return c.lingerInput(ev)
	}
	panic(fmt.Sprintf("server: event in state %d", c.state))
}

// idle reports whether the connection waits for another request, of which nothing has come.
func (c *conn) idle() bool { return c.state == stRequest && c.requests > 0 && c.headAt.IsZero() }

// arrived reports whether the connection only waits for its client to close: it has
// everything.
func (c *conn) arrived() bool { return c.state == stLinger && !c.linger.until.IsZero() }

const wireBuffer = 4 << 10

// receiveHandshake waits for more of the handshake. Its deadline is looked at
// here too: a client that has always sent something more is never waited for,
// and a wait that does not happen is never late.
func (c *conn) receiveHandshake(now time.Time) operation {
	c.state = stHandshakeInput
	if c.wire == nil {
		c.wire = make([]byte, wireBuffer)
	}
	deadline := c.since.Add(c.headerTimeout)
	if !now.Before(deadline) {
		return c.handshakeEnded("timeout", "no TLS handshake within header_timeout")
	}
	return operation{kind: opRecv, buf: c.wire, deadline: deadline}
}

func (c *conn) handshakeInput(ev event) operation {
	switch {
	case ev.late:
		return c.handshakeEnded("timeout", "no TLS handshake within header_timeout")
	case ev.err == unix.ECANCELED || ev.err == unix.EINTR:
		return c.receiveHandshake(ev.now)
	case ev.err != 0:
		return c.fail(ev.err)
	case ev.n == 0:
		return c.handshakeEnded("left", "the client left before the TLS handshake")
	}
	c.state = stHandshakeWork
	c.received += int64(ev.n)
	input := c.wire[:ev.n]
	return operation{kind: opHandshake, job: func() { c.jobDone, c.jobErr = c.session.Handshake(input) }}
}

// handshakeWorked sends what the handshake made, and goes on by its outcome.
func (c *conn) handshakeWorked(now time.Time) operation {
	next := c.receiveHandshake
	switch {
	case c.jobErr != nil:
		err := c.jobErr
		next = func(now time.Time) operation {
			c.handshakeFailed(err)
			return c.shutdown(now)
		}
	case c.jobDone:
		next = c.offloadSession
	}
	return c.sendRaw(c.session.Output(), now, next)
}

// offloadSession gives the connection to the kernel where that is wanted and
// can be had. All that the handshake made has been taken by TCP.
func (c *conn) offloadSession(now time.Time) operation {
	if !c.offloads.Load() {
		return c.offloaded(errNotOffloaded, now)
	}
	// Off the loop: a driver made of parts computes with the key at once, on the engine,
	// and one that has just come may have to pass the kernel's own test before.
	c.state = stOffload
	return operation{kind: opOffload, job: func() {
		c.offloading.Store(true)
		c.jobErr = c.tryKernel()
	}}
}

// offloaded goes on with the transport that the kernel has left.
func (c *conn) offloaded(err error, now time.Time) operation {
	c.since = now
	switch {
	case err == nil:
		c.transport = kernel
		c.logTLS()
		return c.nextRequest(now)
	case !errors.Is(err, errors.ErrUnsupported):
		return c.reset(err.Error())
	case c.require:
		return c.reset("tls.kernel is require: " + err.Error())
	}
	c.log.Debug("kernel TLS not used", "remote", c.remote, "reason", err)
	c.transport = user
	c.logTLS()
	return c.nextRequest(now)
}

// logTLS tells how a connection is encrypted.
func (c *conn) logTLS() {
	if !c.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	state := c.session.State()
	attrs := []slog.Attr{
		slog.String("remote", c.remote), slog.String("version", tls.VersionName(state.Version)),
		slog.String("cipher", tls.CipherSuiteName(state.CipherSuite)), slog.String("transport", c.transport.String()),
	}
	if c.transport == kernel {
		attrs = append(attrs, slog.String("driver", c.by.Name), slog.Bool("asynchronous", c.by.Async), slog.Bool("hardware", c.by.Hardware))
	}
	c.log.LogAttrs(context.Background(), slog.LevelDebug, "TLS connection", attrs...)
}

var errNotOffloaded = fmt.Errorf("kernel TLS is off: %w", errors.ErrUnsupported)

// tryKernel gives the session to the kernel, if that has the cipher, and a driver for it
// that was tested.
func (c *conn) tryKernel() error {
	if !c.offloads.Load() {
		return errNotOffloaded
	}
	suite := c.session.Suite()
	if suite == 0 {
		return c.sock.Offload(c.session) // says why not
	}
	if _, err := c.drivers.find(suite); err != nil {
		return err
	}
	if err := c.sock.Offload(c.session); err != nil {
		return err
	}
	// Another may have come meanwhile. Nothing is encrypted yet.
	var err error
	c.by, err = c.drivers.find(suite)
	c.async = c.drivers.mayWait(suite)
	var untested *untestedError
	if errors.As(err, &untested) {
		untested.taken = true
	}
	return err
}

// nextRequest looks for a whole request head in what has come, and waits for
// more where there is none.
func (c *conn) nextRequest(now time.Time) operation {
	for {
		c.in = http1.TrimBlankLines(c.in)
		if len(c.in) > 0 && c.headAt.IsZero() { // a blank line begins no request
			c.headAt = now
		}
		c.scanned = min(c.scanned, len(c.in))
		n, bad := http1.FindHead(c.in, c.scanned)
		switch {
		case bad != nil:
			return c.refuse(bad.Status, bad.Text, now)
		case n > 0:
			return c.handle(n, now)
		}
		c.scanned = len(c.in)
		if c.session == nil {
			return c.receiveRequest(now)
		}
		more := c.spare()
		got, err := c.session.Read(more)
		c.decrypted(got)
		if m, ok := c.session.Message(); ok {
			return c.unasked(m, err, now)
		}
		switch {
		case got > 0 && (err == nil || err == ktls.ErrWouldBlock): // look at it first
		case err == ktls.ErrWouldBlock:
			// The session may have something to send, the answer to a key
			// update. It goes out before more is received: a client that makes
			// us answer and does not read must not fill our memory.
			if out := c.session.Output(); len(out) > 0 {
				return c.sendRaw(out, now, c.receiveRequest)
			}
			return c.receiveRequest(now)
		case err != nil && err != io.EOF: // also with data before it
			if out := c.session.Output(); len(out) > 0 { // an alert
				c.log.Debug("the client broke TLS", "remote", c.remote, "reason", err)
				return c.sendRaw(out, now, c.shutdown)
			}
			c.heed(err)
			return c.reset(err.Error())
		case got == 0 && err == io.EOF:
			return c.inputEnded(now)
		}
	}
}

// spare is the free end of in, which grows as needed up to its bound.
func (c *conn) spare() []byte {
	if len(c.in) == cap(c.in) || cap(c.in) == 0 {
		grown := make([]byte, len(c.in), min(max(2*len(c.in), 2<<10), http1.MaxHead+2<<10))
		copy(grown, c.in)
		c.in = grown
	}
	return c.in[len(c.in):cap(c.in)]
}

// receiveRequest waits for more of a request, within its time; see
// receiveHandshake.
func (c *conn) receiveRequest(now time.Time) operation {
	c.state = stRequest
	deadline := c.since.Add(c.headerTimeout)
	switch {
	case !c.headAt.IsZero():
		deadline = c.headAt.Add(c.headerTimeout)
	case c.requests > 0:
		deadline = c.since.Add(c.idleTimeout)
	}
	if !now.Before(deadline) {
		return c.requestLate(now)
	}
	return operation{kind: opRecv, buf: c.requestBuffer(), deadline: deadline}
}

// requestBuffer is where more of a request is received.
func (c *conn) requestBuffer() []byte {
	if c.session == nil {
		return c.spare()
	}
	return c.wire
}

// requestLate ends a connection whose next request did not come in time.
func (c *conn) requestLate(now time.Time) operation {
	if c.headAt.IsZero() {
		return c.finish(now)
	}
	return c.refuse(http.StatusRequestTimeout, "the request's head did not come within header_timeout", now)
}

// decrypted takes n more bytes of requests, which stand in spare.
func (c *conn) decrypted(n int) { c.in = c.in[:len(c.in)+n] }

func (c *conn) requestInput(ev event) operation {
	if ev.late {
		// Time may have passed for this program alone, which was stopped: what came
		// meanwhile came in time, though the wait for it was ended.
		if ev.n = c.sock.Received(c.requestBuffer()); ev.n == 0 {
			return c.requestLate(ev.now)
		}
		ev.err = 0
	}
	switch {
	case ev.err == unix.ECANCELED || ev.err == unix.EINTR:
		if (c.stopping || c.yields) && c.idle() {
			return c.finish(ev.now)
		}
		return c.nextRequest(ev.now)
	case ev.err != 0:
		return c.fail(ev.err)
	case ev.n == 0:
		return c.inputEnded(ev.now)
	case c.session != nil:
		c.session.Feed(c.wire[:ev.n])
	default:
		c.decrypted(ev.n)
	}
	c.received += int64(ev.n)
	return c.nextRequest(ev.now)
}

// inputEnded comes when the client has closed its side. What it asked for before
// has been answered; it may have stopped in the middle of a request, and still
// listen.
func (c *conn) inputEnded(now time.Time) operation {
	if len(c.in) > 0 {
		return c.refuse(http.StatusBadRequest, "the request's head is not whole", now)
	}
	return c.finish(now)
}

// handle runs the handler for the request whose head is the first n bytes of in.
func (c *conn) handle(n int, now time.Time) operation {
	c.state = stHandler
	c.started = now
	c.request, c.response, c.jobErr, c.postponed = nil, nil, nil, 0
	head := c.in[:n]
	c.bodiless = http1.IsHead(head)
	return operation{kind: opJob, job: func() {
		c.request, c.jobErr = http1.ParseRequest(head)
		if c.jobErr == nil {
			c.request.RemoteAddr = c.remote
			c.jobErr = c.answer(false)
		}
		c.in = c.in[:copy(c.in, c.in[n:])]
		c.scanned = 0
	}}
}

// handled sends the handler's response, or the refusal of the request.
func (c *conn) handled(ev event) operation {
	var bad *http1.RequestError
	var changed *changedError
	var postponed *http1.PostponedError
	switch err := c.jobErr; {
	case ev.late:
		c.dropAnswer()
		return c.refuse(http.StatusServiceUnavailable, "storage does not answer; try again later", ev.now)
	case err == http1.ErrWouldBlock:
		return operation{kind: opDisk, job: func() { c.jobErr = c.answer(true) }}
	case errors.As(err, &postponed):
		c.postponed++
		c.state = stPostponed
		return operation{kind: opWait, deadline: ev.now.Add(postponed.After)}
	case errors.As(err, &changed):
		return c.reset(err.Error())
	case err == nil || c.response != nil && (passing(err) || err == errDoubt): // the transfer reads again
		c.close = c.request.Close || c.stopping || c.yields || c.records >= maxRecords
		return c.respond(ev.now)
	case errors.As(err, &bad):
		return c.refuse(bad.Status, bad.Text, ev.now)
	}
	c.log.Error("request failed", "remote", c.remote, "reason", c.jobErr)
	c.dropAnswer()
	return c.refuse(http.StatusInternalServerError, "the server could not answer this request", ev.now)
}

// refuse answers with an error and closes.
func (c *conn) refuse(status int, text string, now time.Time) operation {
	if c.state != stHandler {
		c.request, c.started = nil, now
		c.bodiless = http1.IsHead(c.in)
	}
	c.close = true
	c.in = nil
	c.response = http1.NewErrorResponse(c.bodiless, status, text)
	c.transfer = transfer{pieces: plan(make([]byte, headRoom), c.response.Segments, false)}
	return c.respond(now)
}

// respond puts the head before the answer, and sends them.
func (c *conn) respond(now time.Time) operation {
	minor := 1
	if c.request != nil {
		minor = c.request.ProtoMinor
	}
	c.requests++
	c.transfer.head(func(room []byte) []byte { return c.response.AppendHead(room, now, minor, !c.close) })
	return c.send(now, c.responded)
}

// responded comes after the last byte of a response was taken by the kernel.
func (c *conn) responded(now time.Time) operation {
	c.endResponse("", now)
	if c.close || c.stopping || c.yields {
		return c.finish(now)
	}
	c.since, c.headAt = now, time.Time{}
	return c.nextRequest(now)
}

// release gives back the files of segments.
func (c *conn) release(segments []http1.Segment) {
	if c.giveBack == nil {
		http1.Release(segments)
		return
	}
	c.giveBack(segments)
}

// endResponse gives back what the response held, and logs it.
func (c *conn) endResponse(failure string, now time.Time) {
	r := c.response
	if r == nil {
		return
	}
	sent := c.bodySent()
	c.response = nil
	c.release(r.Segments)
	c.endTransfer()
	if !c.scrape {
		pending := int64(0)
		if c.transport == kernel {
			pending = c.pendingMax
		}
		c.counters.ended(c.transport, pending, failure != "")
	}
	if !c.access && failure == "" {
		return
	}
	attrs := []slog.Attr{slog.String("remote", c.remote), slog.Int("status", r.Status)}
	if c.request != nil {
		attrs = append(attrs, slog.String("method", c.request.Method), slog.String("path", journal.Clip(c.request.URL.Path)))
	}
	attrs = append(attrs, slog.Int64("bytes", sent), slog.String("transport", c.transport.String()))
	if c.transport == kernel {
		attrs = append(attrs, slog.Int64("pending_max", c.pendingMax))
	}
	switch {
	case failure == "":
		attrs = append(attrs, slog.Duration("took", now.Sub(c.started)))
		c.log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
	case c.left:
		level := slog.LevelDebug
		if c.access {
			level = slog.LevelInfo
		}
		attrs = append(attrs, slog.String("reason", failure))
		c.log.LogAttrs(context.Background(), level, "request aborted by the client", attrs...)
	case failure == stalledReason: // as any client can make it
		attrs = append(attrs, slog.String("reason", failure))
		c.logLimited(lineCutOff, slog.LevelWarn, "response cut off", attrs...)
	default:
		attrs = append(attrs, slog.String("reason", failure))
		c.log.LogAttrs(context.Background(), slog.LevelWarn, "response cut off", attrs...)
	}
}

// bodySent returns how many bytes of the response's body the socket has accepted.
func (c *conn) bodySent() int64 {
	if c.response.HEAD() {
		return 0
	}
	return max(0, c.response.Length-c.transfer.left())
}
