package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/service/http1"
	"uringhttpd/service/journal"
)

// state is the event that a connection waits for. The order is that of a connection's life.
type state uint8

const (
	stHandshakeInput state = iota // input of the TLS handshake
	stHandshakeWork               // a worker computing the handshake
	stOffload                     // a worker installing the keys in the kernel
	stRequest                     // the rest of a request's head
	stHandler                     // a worker running the handler
	stPostponed                   // a delay before the handler runs again
	stTransfer                    // a step of the response; see transfer.go
	stDrain                       // kernel TLS to become empty, before and after the final alert
	stNotify                      // the final alert to be accepted by the socket
	stNotifyRoom                  // room in the socket for the final alert
	stLinger                      // acknowledgement of all data
	stClosed                      // the descriptor to be closed
)

func (s state) String() string {
	return [...]string{"handshake input", "handshake", "offload", "request", "handler", "postponed", "transfer", "drain", "alert", "room for alert", "linger", "closed"}[s]
}

// transport is the way in which bytes are sent. All transports use the same states.
type transport uint8

const (
	plain   transport = iota // TCP
	kernel                   // plaintext to the kernel, which encrypts it into TLS records
	user                     // TLS records made in user space
	unknown                  // TLS before the handshake is complete: only handshake records may be sent
)

func (t transport) String() string {
	return [...]string{"plain", "kernel TLS", "user-space TLS", "handshake"}[t]
}

// A conn is a connection. At any time it is owned by the loop, or by a worker between the start
// of a job and its event. Fields without further comment belong to the current owner.
type conn struct {
	// Constant.
	gen     *generation
	proc    *process
	loop    *loopState // for the loop's thread only
	client  endpoint
	sock    socket
	session *ktls.Session // nil on a plain connection

	// Only the loop uses these.
	state  state
	then   func(now time.Time) operation // continues after the transfer
	yields bool                          // the connection ends in favor of another client
	left   bool                          // the client has ended the connection, or announced it

	transport transport
	tls       *tls.ConnectionState // once the handshake is complete; for handlers
	place     place                // location of the client; determined for plain connections only
	driver    offload.Driver       // for kernel TLS
	async     bool                 // a send may wait for driver

	// Results of a job, for the step after it.
	jobErr     error
	jobDone    bool
	offloading atomic.Bool // the job has begun to install the keys; the loop reads this during the job

	input    input
	exchange exchange
	transfer transfer
	flow     flow
	alerts   alerts
	ending   ending
}

// input is the receive side.
type input struct {
	buf      []byte    // received, decrypted, and not consumed
	scanned  int       // leading bytes of buf that do not contain the end of a head
	wire     []byte    // buffer for received data before decryption
	since    time.Time // start of the wait for the handshake, or for a request
	headAt   time.Time // when the first byte of the head was received; zero before that
	requests int       // requests answered
	received int64     // bytes read from the socket; a FIN counts as one
}

// exchange is a request and its response.
type exchange struct {
	request   *http.Request // nil if it could not be parsed
	bodiless  bool          // the method is HEAD; known even if parsing failed
	response  *http1.Response
	started   time.Time
	postponed int  // number of times the handler was postponed
	close     bool // the connection ends after this response
}

// flow tracks the bytes that the kernel holds for the connection; see gate.go.
type flow struct {
	acked      int64     // bytes that the client has acknowledged, at progressed
	given      int64     // bytes passed to TCP, at the last reading; 0 before the first
	progressed time.Time // last sign of progress of the client
	backoff    time.Duration
	pushAgain  time.Duration // see awaitRoom
	lastWait   ktls.Reading
	stillSince time.Time // when lastWait was first read
	pendingMax int64     // bytes
	room       rooms
	window     window
	openRecord int   // plaintext in the TLS record left open by MSG_MORE; an estimate, since short sends may end it
	allAcked   bool  // everything was acknowledged at the last reading
	unsent     int   // current TCP_NOTSENT_LOWAT
	records    int64 // upper bound of the TLS records made with the connection's keys; see maxRecords
}

// alerts is the state of reading the client's alerts during a response; see alert.go.
type alerts struct {
	bytes int  // bytes read to find alerts
	done  bool // reading has ended
}

// ending is the state of an orderly close; see closing.go.
type ending struct {
	after  func(now time.Time) operation // continues after the wait for kernel TLS
	alert  ktls.Message                  // final alert, the last record before FIN; kernel TLS only
	linger lingering
}

// newConn returns a connection for a socket that the loop accepted.
func newConn(env environment, sock socket, from endpoint, session *ktls.Session) *conn {
	c := &conn{gen: env.gen, proc: env.proc, loop: env.loop, client: from, sock: sock, session: session}
	c.flow.window.move(0, time.Time{}, c.loop.share)
	c.flow.room.all, c.flow.unsent = c.flow.window.size, minUnsent // the kernel holds nothing yet
	if session != nil {
		c.transport = unknown
	}
	return c
}

// start performs the connection's first step.
func (c *conn) start(now time.Time) operation {
	c.input.since, c.flow.progressed = now, now
	if c.session != nil {
		return c.receiveHandshake(now)
	}
	return c.nextRequest(now)
}

// step handles the end of the operation that the previous step returned.
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
		return c.drain(ev.now, c.ending.after)
	case stNotify:
		return c.notifyDone(ev)
	case stNotifyRoom:
		return c.notifyRoom(ev)
	case stLinger:
		return c.lingerInput(ev)
	}
	panic(fmt.Sprintf("server: event in state %v", c.state))
}

// idle reports whether the connection waits for another request and has received none of it.
func (c *conn) idle() bool {
	return c.state == stRequest && c.input.requests > 0 && c.input.headAt.IsZero()
}

// arrived reports whether the client has acknowledged everything, so that the connection only
// waits for it to close.
func (c *conn) arrived() bool { return c.state == stLinger && !c.ending.linger.until.IsZero() }

const wireBuffer = 4 << 10

// receiveHandshake waits for more handshake input. The deadline is also checked here, because
// a client that always has input ready never makes the connection wait, and a receive that
// does not wait is never late.
func (c *conn) receiveHandshake(now time.Time) operation {
	c.state = stHandshakeInput
	if c.input.wire == nil {
		c.input.wire = make([]byte, wireBuffer)
	}
	deadline := c.input.since.Add(c.gen.headerTimeout)
	if !now.Before(deadline) {
		return c.handshakeEnded("timeout", "no TLS handshake within header_timeout")
	}
	return operation{kind: opRecv, buf: c.input.wire, deadline: deadline}
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
	c.input.received += int64(ev.n)
	input := c.input.wire[:ev.n]
	return operation{kind: opHandshake, job: func() { c.jobDone, c.jobErr = c.session.Handshake(input) }}
}

// handshakeWorked sends the handshake's output, and continues by its result.
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

// offloadSession installs the keys in the kernel if kernel TLS is enabled and available. TCP
// has already accepted all output of the handshake.
func (c *conn) offloadSession(now time.Time) operation {
	if !c.proc.offloads.Load() {
		return c.offloaded(errNotOffloaded, now)
	}
	// This runs on a worker: a template driver computes with the key at once, on the engine,
	// and a newly registered driver may have to pass the kernel's own test first.
	c.state = stOffload
	return operation{kind: opOffload, job: func() {
		c.offloading.Store(true)
		c.jobErr = c.tryKernel()
	}}
}

// offloaded continues with the transport that results from the attempt.
func (c *conn) offloaded(err error, now time.Time) operation {
	c.input.since = now
	switch {
	case err == nil:
		c.transport = kernel
		c.secured()
		return c.nextRequest(now)
	case !errors.Is(err, errors.ErrUnsupported):
		return c.reset(causeOffload, err.Error())
	case c.gen.require:
		return c.reset(causeOffload, "tls.kernel is require: "+err.Error())
	}
	c.gen.log.Debug("kernel TLS not used", "remote", c.client.peer, "reason", err)
	c.transport = user
	c.secured()
	return c.nextRequest(now)
}

// secured records the connection's TLS state, for handlers and the log.
func (c *conn) secured() {
	state := c.session.State()
	c.tls = &state
	if !c.gen.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.Any("remote", c.client.peer), slog.String("version", tls.VersionName(state.Version)),
		slog.String("cipher", tls.CipherSuiteName(state.CipherSuite)), slog.String("transport", c.transport.String()),
	}
	if c.transport == kernel {
		attrs = append(attrs, slog.String("driver", c.driver.Name), slog.Bool("asynchronous", c.driver.Async), slog.Bool("hardware", c.driver.Hardware))
	}
	c.gen.log.LogAttrs(context.Background(), slog.LevelDebug, "TLS connection", attrs...)
}

var errNotOffloaded = fmt.Errorf("kernel TLS is off: %w", errors.ErrUnsupported)

// tryKernel installs the session's keys in the kernel if it supports the cipher with a tested
// driver.
func (c *conn) tryKernel() error {
	if !c.proc.offloads.Load() {
		return errNotOffloaded
	}
	suite := c.session.Suite()
	if suite == 0 {
		return c.sock.Offload(c.session) // returns the reason
	}
	if _, err := c.proc.drivers.find(suite); err != nil {
		return err
	}
	if err := c.sock.Offload(c.session); err != nil {
		return err
	}
	// Another driver may have been registered meanwhile. Nothing is encrypted yet.
	var err error
	c.driver, err = c.proc.drivers.find(suite)
	c.async = c.proc.drivers.mayWait(suite)
	var untested *untestedError
	if errors.As(err, &untested) {
		untested.taken = true
	}
	return err
}

// nextRequest searches the received data for a complete request head, and receives more if
// there is none.
func (c *conn) nextRequest(now time.Time) operation {
	for {
		c.input.buf = http1.TrimBlankLines(c.input.buf)
		if len(c.input.buf) > 0 && c.input.headAt.IsZero() { // a blank line does not begin a request
			c.input.headAt = now
		}
		c.input.scanned = min(c.input.scanned, len(c.input.buf))
		n, bad := http1.FindHead(c.input.buf, c.input.scanned)
		switch {
		case bad != nil:
			return c.refuse(bad.Status, bad.Text, now)
		case n > 0:
			return c.handle(n, now)
		}
		c.input.scanned = len(c.input.buf)
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
		case got > 0 && (err == nil || err == ktls.ErrWouldBlock): // parse the data first
		case err == ktls.ErrWouldBlock:
			// The session may have output, such as the answer to a key update. It is sent before
			// more is received, because a client that requests answers and does not read them
			// must not fill our memory.
			if out := c.session.Output(); len(out) > 0 {
				return c.sendRaw(out, now, c.receiveRequest)
			}
			return c.receiveRequest(now)
		case err != nil && err != io.EOF: // also with data before the error
			if out := c.session.Output(); len(out) > 0 { // an alert
				c.gen.log.Debug("the client broke TLS", "remote", c.client.peer, "reason", err)
				return c.sendRaw(out, now, c.shutdown)
			}
			c.heed(err)
			return c.reset(causeTLS, err.Error())
		case got == 0 && err == io.EOF:
			return c.inputEnded(now)
		}
	}
}

// spare returns the free end of input.buf, which grows as needed up to its limit.
func (c *conn) spare() []byte {
	if len(c.input.buf) == cap(c.input.buf) || cap(c.input.buf) == 0 {
		grown := make([]byte, len(c.input.buf), min(max(2*len(c.input.buf), 2<<10), http1.MaxHead+2<<10))
		copy(grown, c.input.buf)
		c.input.buf = grown
	}
	return c.input.buf[len(c.input.buf):cap(c.input.buf)]
}

// receiveRequest waits for more of a request until its deadline; see receiveHandshake about
// the check here.
func (c *conn) receiveRequest(now time.Time) operation {
	c.state = stRequest
	deadline := c.input.since.Add(c.gen.headerTimeout)
	switch {
	case !c.input.headAt.IsZero():
		deadline = c.input.headAt.Add(c.gen.headerTimeout)
	case c.input.requests > 0:
		deadline = c.input.since.Add(c.gen.idleTimeout)
	}
	if !now.Before(deadline) {
		return c.requestLate(now)
	}
	return operation{kind: opRecv, buf: c.requestBuffer(), deadline: deadline}
}

// requestBuffer returns the buffer for receiving more of a request.
func (c *conn) requestBuffer() []byte {
	if c.session == nil {
		return c.spare()
	}
	return c.input.wire
}

// requestLate ends a connection whose next request did not arrive in time.
func (c *conn) requestLate(now time.Time) operation {
	if c.input.headAt.IsZero() {
		return c.finish(now)
	}
	return c.refuse(http.StatusRequestTimeout, "the request's head did not come within header_timeout", now)
}

// decrypted appends the n bytes that were written to spare's buffer.
func (c *conn) decrypted(n int) { c.input.buf = c.input.buf[:len(c.input.buf)+n] }

func (c *conn) requestInput(ev event) operation {
	if ev.late {
		// This process may have been stopped for a while: data already in the socket was
		// received in time, although the wait for it was cancelled.
		if ev.n = c.sock.Received(c.requestBuffer()); ev.n == 0 {
			return c.requestLate(ev.now)
		}
		ev.err = 0
	}
	switch {
	case ev.err == unix.ECANCELED || ev.err == unix.EINTR:
		if (c.loop.stopping || c.yields) && c.idle() {
			return c.finish(ev.now)
		}
		return c.nextRequest(ev.now)
	case ev.err != 0:
		return c.fail(ev.err)
	case ev.n == 0:
		return c.inputEnded(ev.now)
	case c.session != nil:
		c.session.Feed(c.input.wire[:ev.n])
	default:
		c.decrypted(ev.n)
	}
	c.input.received += int64(ev.n)
	return c.nextRequest(ev.now)
}

// inputEnded handles the client's FIN. Its earlier requests have been answered. It may have
// stopped in the middle of a request, and may still receive.
func (c *conn) inputEnded(now time.Time) operation {
	if len(c.input.buf) > 0 {
		return c.refuse(http.StatusBadRequest, "the request's head is not whole", now)
	}
	return c.finish(now)
}

// handle runs the handler for the request whose head is the first n bytes of in.
func (c *conn) handle(n int, now time.Time) operation {
	c.state = stHandler
	c.exchange.started = now
	c.exchange.request, c.exchange.response, c.jobErr, c.exchange.postponed = nil, nil, nil, 0
	head := c.input.buf[:n]
	c.exchange.bodiless = http1.IsHead(head)
	return operation{kind: opJob, job: func() {
		c.exchange.request, c.jobErr = http1.ParseRequest(head)
		if c.jobErr == nil {
			c.exchange.request.RemoteAddr = c.client.peer.String()
			c.exchange.request.TLS = c.tls
			c.jobErr = c.answer(false)
		}
		c.input.buf = c.input.buf[:copy(c.input.buf, c.input.buf[n:])]
		c.input.scanned = 0
	}}
}

// handled sends the handler's response, or an error response.
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
		c.exchange.postponed++
		c.state = stPostponed
		return operation{kind: opWait, deadline: ev.now.Add(postponed.After)}
	case errors.As(err, &changed):
		return c.reset(causeFile, err.Error())
	case err == nil || c.exchange.response != nil && (passing(err) || err == errDoubt): // the transfer repeats the read
		c.exchange.close = c.exchange.request.Close || c.loop.stopping || c.yields || c.flow.records >= maxRecords
		return c.respond(ev.now)
	case errors.As(err, &bad):
		return c.refuse(bad.Status, bad.Text, ev.now)
	}
	c.gen.log.Error("request failed", "remote", c.client.peer, "reason", c.jobErr)
	c.dropAnswer()
	return c.refuse(http.StatusInternalServerError, "the server could not answer this request", ev.now)
}

// refuse sends an error response and ends the connection.
func (c *conn) refuse(status int, text string, now time.Time) operation {
	if c.state != stHandler {
		c.exchange.request, c.exchange.started = nil, now
		c.exchange.bodiless = http1.IsHead(c.input.buf)
	}
	c.exchange.close = true
	c.input.buf = nil
	c.exchange.response = http1.NewErrorResponse(c.exchange.bodiless, status, text)
	c.transfer = transfer{pieces: plan(make([]byte, headRoom), c.exchange.response.Segments, false)}
	return c.respond(now)
}

// respond prepends the response head, and sends the response.
func (c *conn) respond(now time.Time) operation {
	minor := 1
	if c.exchange.request != nil {
		minor = c.exchange.request.ProtoMinor
	}
	c.input.requests++
	c.transfer.head(func(room []byte) []byte { return c.exchange.response.AppendHead(room, now, minor, !c.exchange.close) })
	return c.send(now, c.responded)
}

// responded runs after the kernel has accepted the last byte of a response.
func (c *conn) responded(now time.Time) operation {
	c.endResponse(causeNone, "", now)
	if c.exchange.close || c.loop.stopping || c.yields {
		return c.finish(now)
	}
	c.input.since, c.input.headAt = now, time.Time{}
	return c.nextRequest(now)
}

// release releases the files of segments.
func (c *conn) release(segments []http1.Segment) {
	if c.loop.giveBack == nil {
		http1.Release(segments)
		return
	}
	c.loop.giveBack(segments)
}

// endResponse releases the response's resources, and logs it.
func (c *conn) endResponse(why cause, reason string, now time.Time) {
	r := c.exchange.response
	if r == nil {
		return
	}
	sent := c.bodySent()
	c.exchange.response = nil
	c.release(r.Segments)
	c.endTransfer()
	if !c.client.metrics {
		pending := int64(0)
		if c.transport == kernel {
			pending = c.flow.pendingMax
		}
		c.proc.counters.ended(c.transport, pending, why != causeNone)
	}
	if !c.gen.access && why == causeNone {
		return
	}
	attrs := []slog.Attr{slog.Any("remote", c.client.peer), slog.Int("status", r.Status)}
	if c.exchange.request != nil {
		attrs = append(attrs, slog.String("method", c.exchange.request.Method), slog.String("path", journal.Clip(c.exchange.request.URL.Path)))
	}
	attrs = append(attrs, slog.Int64("bytes", sent), slog.String("transport", c.transport.String()))
	if c.transport == kernel {
		attrs = append(attrs, slog.Int64("pending_max", c.flow.pendingMax))
	}
	if why != causeNone {
		attrs = append(attrs, slog.String("cause", why.String()), slog.String("reason", reason))
	}
	switch {
	case why == causeNone:
		attrs = append(attrs, slog.Duration("took", now.Sub(c.exchange.started)))
		c.gen.log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
	case c.left:
		level := slog.LevelDebug
		if c.gen.access {
			level = slog.LevelInfo
		}
		c.gen.log.LogAttrs(context.Background(), level, "request aborted by the client", attrs...)
	case why == causeStalled: // any client can cause this
		c.loop.logLimited(c.gen.log, lineCutOff, slog.LevelWarn, "response cut off", attrs...)
	default:
		c.gen.log.LogAttrs(context.Background(), slog.LevelWarn, "response cut off", attrs...)
	}
}

// bodySent returns how many bytes of the response's body the socket has accepted.
func (c *conn) bodySent() int64 {
	if c.exchange.response.HEAD() {
		return 0
	}
	return max(0, c.exchange.response.Length-c.transfer.left())
}
