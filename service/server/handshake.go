package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

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
		return c.handshakeAborted("timeout", "no TLS handshake within header_timeout")
	}
	return operation{kind: opRecv, buf: c.input.wire, deadline: deadline}
}

func (c *conn) handshakeInput(ev event) operation {
	switch {
	case ev.late:
		return c.handshakeAborted("timeout", "no TLS handshake within header_timeout")
	case ev.err == unix.ECANCELED || ev.err == unix.EINTR:
		return c.receiveHandshake(ev.now)
	case ev.err != 0:
		return c.fail(ev.err)
	case ev.n == 0:
		return c.handshakeAborted("left", "the client closed the connection during the TLS handshake")
	}
	c.state = stHandshakeWork
	c.input.received += int64(ev.n)
	input := c.input.wire[:ev.n]
	return operation{kind: opHandshake, job: func() { c.handshakeDone, c.jobErr = c.session.Handshake(input) }}
}

// handshakeComputed sends the handshake's output, and continues by its result.
func (c *conn) handshakeComputed(now time.Time) operation {
	then := thenReadHandshake
	switch {
	case c.jobErr != nil:
		then = thenFailHandshake
	case c.handshakeDone:
		then = thenOffload
	}
	return c.sendRaw(c.session.Output(), now, then)
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
		c.startKernelTLS()
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

// startKernelTLS makes the kernel encrypt all further data.
func (c *conn) startKernelTLS() {
	c.transport = kernel
	c.flow.StartTLS()
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
		untested.keysInstalled = true
	}
	return err
}
