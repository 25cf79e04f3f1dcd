package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/http1"
	"uringhttpd/service/journal"
)

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
			if op, ok := c.answerCached(n, now); ok {
				return op
			}
			return c.runHandler(n, now)
		}
		c.input.scanned = len(c.input.buf)
		if c.session == nil {
			return c.receiveRequest(now)
		}
		more := c.inputSpace()
		got, err := c.session.Read(more)
		c.extendInput(got)
		if m, ok := c.session.Message(); ok {
			return c.handleOwnMessage(m, err, now)
		}
		switch {
		case got > 0 && (err == nil || err == ktls.ErrWouldBlock): // parse the data first
		case err == ktls.ErrWouldBlock:
			// The session may have output, such as the answer to a key update. It is sent before
			// more is received, because a client that requests answers and does not read them
			// must not fill our memory.
			if out := c.session.Output(); len(out) > 0 {
				return c.sendRaw(out, now, thenReadRequest)
			}
			return c.receiveRequest(now)
		case err != nil && err != io.EOF: // also with data before the error
			if out := c.session.Output(); len(out) > 0 { // an alert
				c.gen.log.Debug("client violated TLS", "remote", c.client.peer, "reason", err)
				return c.sendRaw(out, now, thenShutdown)
			}
			c.logAlert(err)
			return c.reset(causeTLS, err.Error())
		case got == 0 && err == io.EOF:
			return c.inputEnded(now)
		}
	}
}

// inputSpace returns the free end of input.buf, which grows as needed up to its limit.
func (c *conn) inputSpace() []byte {
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
	if (c.loop.stopping || c.yields) && c.idle() { // asked for while the receive was cancelled for a look
		return c.finish(now)
	}
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
	if c.wait.undelivered { // stall_timeout holds for the end of a response, too
		if look := c.nextLook(now); look.Before(deadline) {
			deadline = look
		}
	}
	return operation{kind: opRecv, buf: c.requestBuffer(), idle: c.gen.cache != nil && c.idle(), deadline: deadline}
}

// noRequest runs when a deadline of receiveRequest has passed.
func (c *conn) noRequest(now time.Time) operation {
	if c.wait.undelivered {
		r, op, ok := c.measure(now)
		switch {
		case !ok:
			return op
		case r.Pending == 0 && r.Unacked == 0:
			c.wait.undelivered = false
		case c.stalled(now):
			c.wait.reading = r
			return c.pause(now) // resets, for the cause that r shows
		case r.Pending > 0:
			c.sock.Push() // see waitWritable
		}
	}
	return c.receiveRequest(now)
}

// requestBuffer returns the buffer for receiving more of a request.
func (c *conn) requestBuffer() []byte {
	if c.session == nil {
		return c.inputSpace()
	}
	return c.input.wire
}

// requestLate ends a connection whose next request did not arrive in time.
func (c *conn) requestLate(now time.Time) operation {
	if c.input.headAt.IsZero() {
		return c.finish(now)
	}
	return c.refuse(http.StatusRequestTimeout, "the request head did not arrive within header_timeout", now)
}

// extendInput appends the n bytes that were written to inputSpace's buffer.
func (c *conn) extendInput(n int) { c.input.buf = c.input.buf[:len(c.input.buf)+n] }

func (c *conn) requestInput(ev event) operation {
	if ev.late {
		// This process may have been stopped for a while: data already in the socket was
		// received in time, although the wait for it was cancelled.
		if ev.n = c.sock.Received(c.requestBuffer()); ev.n == 0 {
			return c.noRequest(ev.now)
		}
		ev.err = 0
		c.loop.answers.updated = false // received after this wait of the loop
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
		c.extendInput(ev.n)
	}
	c.input.received += int64(ev.n)
	return c.nextRequest(ev.now)
}

// inputEnded handles the client's FIN. Its earlier requests have been answered. It may have
// stopped in the middle of a request, and may still receive.
func (c *conn) inputEnded(now time.Time) operation {
	if len(c.input.buf) > 0 {
		return c.refuse(http.StatusBadRequest, "the request head is incomplete", now)
	}
	return c.finish(now)
}

// runHandler runs the handler for the request whose head is the first n bytes of in.
func (c *conn) runHandler(n int, now time.Time) operation {
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

// handlerDone sends the handler's response, or an error response.
func (c *conn) handlerDone(ev event) operation {
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
	case err == nil || c.exchange.response != nil && (isTransient(err) || err == errUndecided): // the transfer repeats the read
		c.wantAnswer()
		c.exchange.close = c.exchange.request.Close || c.loop.stopping || c.yields || c.flow.KeysExhausted()
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
	c.transfer = transfer{pieces: plan(make([]byte, headReserve), c.exchange.response.Segments, false)}
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
	return c.send(now, thenEndResponse)
}

// responseSent runs after the kernel has accepted the last byte of a response.
func (c *conn) responseSent(now time.Time) operation {
	c.endResponse(causeNone, "", now)
	c.wait.undelivered = true
	if c.exchange.close || c.loop.stopping || c.yields {
		return c.finish(now)
	}
	c.input.since, c.input.headAt = now, time.Time{}
	return c.nextRequest(now)
}

// endResponse releases the response's resources, and logs it.
func (c *conn) endResponse(why cause, reason string, now time.Time) {
	if !c.exchange.responding() {
		return
	}
	sent := c.bodySent()
	status, method, path := c.exchange.summary()
	c.releaseResponse()
	c.endTransfer()
	if !c.client.metrics {
		pending := int64(0)
		if c.transport == kernel {
			pending = c.flow.PendingMax()
		}
		c.proc.counters.ended(c.transport, pending, why != causeNone)
	}
	if !c.gen.access && why == causeNone {
		return
	}
	attrs := []slog.Attr{slog.Any("remote", c.client.peer), slog.Int("status", status)}
	if method != "" {
		attrs = append(attrs, slog.String("method", method), slog.String("path", journal.Clip(path)))
	}
	attrs = append(attrs, slog.Int64("bytes", sent), slog.String("transport", c.transport.String()))
	if c.transport == kernel {
		attrs = append(attrs, slog.Int64("pending_max", c.flow.PendingMax()))
	}
	if why != causeNone {
		attrs = append(attrs, slog.String("cause", why.String()), slog.String("reason", reason))
	}
	switch {
	case why == causeNone:
		attrs = append(attrs, slog.Duration("took", now.Sub(c.exchange.started)))
		c.gen.log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
	case c.clientLeft:
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

// summary returns the status of the response, and the method and the path of the request if it
// could be parsed.
func (x *exchange) summary() (status int, method, path string) {
	switch {
	case x.cached.active:
		return x.cached.answer.Status, x.cached.method, x.cached.answer.Path
	case x.request != nil:
		return x.response.Status, x.request.Method, x.request.URL.Path
	}
	return x.response.Status, "", ""
}

// releaseResponse ends the response, and releases its files.
func (c *conn) releaseResponse() {
	if c.exchange.cached.active {
		c.releaseAnswer()
		return
	}
	segments := c.exchange.response.Segments
	c.exchange.response = nil
	c.loop.release(segments)
}

// bodySent returns how many bytes of the response's body the socket has accepted.
func (c *conn) bodySent() int64 {
	x := &c.exchange
	length, head := x.cached.answer.Length, x.cached.method == http.MethodHead
	if !x.cached.active {
		length, head = x.response.Length, x.response.HEAD()
	}
	if head {
		return 0
	}
	return max(0, length-c.transfer.remaining())
}
