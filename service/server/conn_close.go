package server

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/uring"
)

const (
	lingerTime  = 5 * time.Second        // for the client to close, after it has acknowledged everything
	lingerBytes = 1 << 20                // limit of discarded bytes after that
	lingerFlood = 64 << 20               // limit of discarded bytes before that
	lingerTick  = 250 * time.Millisecond // between readings of the meter while the client sends nothing
)

// lingering is the state of the last phase of a close.
type lingering struct {
	discarded       int64     // bytes discarded
	until           time.Time // deadline; zero until the client has acknowledged everything
	discardedBefore int64     // discarded, when until was set
	eof             bool      // the client has sent FIN
}

// finish closes in order: all data sent arrives, and the client can tell that it is complete.
func (c *conn) finish(now time.Time) operation {
	c.renewProgress(now)
	switch c.transport {
	case kernel:
		return c.finishWithAlert(ktls.CloseNotify(), now)
	case user:
		if err := c.session.CloseNotify(); err != nil {
			return c.reset(causeTLS, err.Error())
		}
		return c.sendRaw(c.session.Output(), now, thenShutdown)
	case unknown:
		return c.reset(causeHandshake, "the TLS handshake is not complete")
	}
	return c.shutdown(now)
}

// finishWithAlert sends an alert through the kernel, and closes in order.
func (c *conn) finishWithAlert(m ktls.Message, now time.Time) operation {
	c.renewProgress(now)
	c.closing.alert = m
	return c.drain(now, thenAlert)
}

// renewProgress starts a new stall_timeout, unless the client still owes the acknowledgement of a
// response.
func (c *conn) renewProgress(now time.Time) {
	if !c.wait.undelivered {
		c.wait.progressed = now
	}
}

// handleOwnMessage ends a connection in kernel TLS for which crypto/tls has produced a message of its
// own: an alert, because the client violated the protocol (cause), or a KeyUpdate, because
// the client requested it. The kernel's keys are not updated
// (docs/decisions/0008-key-updates.md), and without new keys no more data may be sent
// (RFC 8446 section 4.6.3); close_notify may.
func (c *conn) handleOwnMessage(m ktls.Message, cause error, now time.Time) operation {
	for !m.IsAlert() {
		next, ok := c.session.Message()
		if !ok {
			break
		}
		m = next
	}
	if !m.IsAlert() {
		c.gen.log.Debug("client requested a key update: closing", "remote", c.client.peer)
		return c.finish(now)
	}
	c.gen.log.Debug("client violated TLS", "remote", c.client.peer, "alert", m.String(), "reason", cause)
	return c.finishWithAlert(m, now)
}

// drain waits until kernel TLS is empty, because shutdown(2) and close(2) discard any data inside
// it, and continues with then.
func (c *conn) drain(now time.Time, then continuation) operation {
	c.state, c.then = stDrain, then
	r, op, ok := c.measure(now)
	switch {
	case !ok:
		return op
	case r.Pending > 0:
		return c.pollLater(r, now)
	}
	return c.proceed(now)
}

// sendAlert sends the final alert, as a record of its own.
func (c *conn) sendAlert() operation {
	c.state = stAlert
	return operation{kind: opAlert, msg: uring.NewMessage(c.closing.alert.Payload, c.closing.alert.Control())}
}

func (c *conn) alertSent(ev event) operation {
	if ev.err != 0 {
		c.excuseEngine(ev.now)
	}
	switch {
	case ev.err == unix.EAGAIN && c.transfer.polled || isTransient(ev.err):
		// As in pushed: poll(2) and the socket disagree; wait rather than spin.
		c.transfer.polled = false
		c.state = stAlertWritable
		return c.pause(ev.now)
	case ev.err == unix.EAGAIN || ev.err == unix.EINTR:
		c.state = stAlertWritable
		c.wait.pushAt = time.Time{}
		return operation{kind: opWritable, deadline: c.nextLook(ev.now)}
	case ev.err != 0:
		return c.fail(ev.err)
	}
	c.wait.progressed = ev.now // as in pushed
	c.sock.Sent(ev.n)
	return c.drain(ev.now, thenShutdown)
}

func (c *conn) alertWritable(ev event) operation {
	if ev.late {
		if _, op, ok := c.measure(ev.now); !ok {
			return op
		}
		if c.stalled(ev.now) {
			return c.reset(causeStalled, stalledReason)
		}
		return operation{kind: opWritable, deadline: c.nextLook(ev.now)}
	}
	c.transfer.polled = true
	return c.drain(ev.now, thenAlert)
}

// shutdown sends FIN after all other data, and lingers, because a close with unread input
// would send RST and discard data that the client has not received yet.
func (c *conn) shutdown(now time.Time) operation {
	if err := c.sock.Shutdown(); err != nil {
		return c.fail(err)
	}
	c.renewProgress(now)
	c.input.buf = nil
	if c.input.wire == nil {
		c.input.wire = make([]byte, wireBuffer)
	}
	return c.discard(now)
}

// discard reads until the client has acknowledged everything and has closed, or a limit is reached.
func (c *conn) discard(now time.Time) operation {
	c.state = stLinger
	l := &c.closing.linger
	r, err := c.sock.Reading()
	if err != nil { // both sides have closed, or the connection was reset
		return c.closeSocket()
	}
	if c.flow.Acknowledge(r) {
		c.wait.progressed = now
	}
	if r.Unacked == 0 && l.until.IsZero() {
		l.until, l.discardedBefore = now.Add(lingerTime), l.discarded
	}
	arrived := !l.until.IsZero()
	switch {
	case arrived && (c.yields || l.eof || !now.Before(l.until) || l.discarded-l.discardedBefore > lingerBytes):
		return c.closeSocket()
	case arrived:
		return operation{kind: opRecv, buf: c.input.wire, deadline: l.until}
	case c.stalled(now):
		return c.abandon(causeStalled, stalledReason)
	case l.discarded > lingerFlood:
		return c.abandon(causeClient, "the client sends data and acknowledges none")
	case l.eof:
		return c.pollLater(r, now)
	}
	return operation{kind: opRecv, buf: c.input.wire, deadline: now.Add(lingerTick)}
}

func (c *conn) lingerInput(ev event) operation {
	switch {
	case ev.late || ev.err == unix.ECANCELED || ev.err == unix.EINTR || ev.err == unix.EAGAIN:
	case ev.err != 0:
		return c.closeSocket()
	case ev.n == 0 && !c.closing.linger.until.IsZero():
		return c.closeSocket()
	default:
		c.input.received += int64(ev.n)
		c.closing.linger.eof = c.closing.linger.eof || ev.n == 0
		c.closing.linger.discarded += int64(ev.n)
		c.readAlerts(c.input.wire[:ev.n])
	}
	return c.discard(ev.now)
}

// abandon resets a connection whose client does not acknowledge the end of the data.
func (c *conn) abandon(why cause, reason string) operation {
	c.gen.log.Debug("connection abandoned", "remote", c.client.peer, "cause", why, "reason", reason)
	c.sock.Abort()
	return c.closeSocket()
}

// reset ends the connection so that the client can tell that data is missing: SO_LINGER
// {1, 0} has been set since it was accepted, so close sends RST.
func (c *conn) reset(why cause, reason string) operation {
	if c.exchange.responding() {
		c.endResponse(why, reason, time.Time{})
	} else {
		c.gen.log.Debug("connection reset", "remote", c.client.peer, "cause", why, "reason", reason)
	}
	return c.closeSocket()
}

// fail resets a connection whose socket failed with err.
func (c *conn) fail(err error) operation {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return c.reset(causeSocket, err.Error())
	}
	switch errno {
	case unix.ECONNRESET, unix.EPIPE, unix.ENOTCONN:
		c.clientLeft = true
		return c.reset(causeClient, errno.Error())
	case unix.ETIMEDOUT: // TCP gave up: no acknowledgement, for longer than stall_timeout as a rule
		return c.reset(causeStalled, stalledReason)
	}
	return c.reset(causeSocket, errno.Error())
}

// closeSocket is the last step of every connection, closed in order or reset.
func (c *conn) closeSocket() operation {
	c.state = stClosed
	c.endTransfer()
	c.readFinalAlert()
	if c.session != nil {
		c.session.Close()
	}
	return operation{kind: opClose}
}
