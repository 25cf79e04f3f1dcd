package server

import (
	"net/http"
	"testing"
	"time"

	"uringhttpd/ktls"
)

// TestContinuation: while bytes are sent, the connection stores the step that its life requires next.
func TestContinuation(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	session := func() *ktls.Session {
		s, err := ts.gen.sessions.Session()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	now := time.Now()
	pending := ktls.Reading{Pending: 1000}
	for _, tt := range []struct {
		name  string
		sock  scriptedSocket
		run   func(c *conn)
		state state
		want  continuation
	}{
		{"a failed handshake", scriptedSocket{}, func(c *conn) {
			c.session, c.transport = session(), unknown
			op := c.start(now)
			op = c.step(event{n: copy(op.buf, "\x16\x03\x01\x00\x05hello"), now: now})
			op.job()
			c.step(event{now: now})
		}, stTransfer, thenFailHandshake},
		{"a response", scriptedSocket{}, func(c *conn) { c.refuse(http.StatusBadRequest, "bad", now) }, stTransfer, thenEndResponse},
		{"the end in kernel TLS", scriptedSocket{reading: pending}, func(c *conn) {
			c.startKernelTLS()
			c.finish(now)
		}, stDrain, thenAlert},
		{"the final alert", scriptedSocket{}, func(c *conn) {
			c.startKernelTLS()
			c.finish(now)
			c.sock.(*scriptedSocket).reading = pending
			c.step(event{n: 2, now: now})
		}, stDrain, thenShutdown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newConn(ts.environment(), &tt.sock, endpoint{}, nil)
			tt.run(c)
			if c.state != tt.state || c.then != tt.want {
				t.Errorf("state %v, then %v; want %v, %v", c.state, c.then, tt.state, tt.want)
			}
		})
	}
	t.Run("the answer to a key update", func(t *testing.T) {
		session, client := handshaken(t, ts)
		c := newConn(ts.environment(), &scriptedSocket{}, endpoint{}, session)
		c.transport, c.input.wire, c.input.since = user, make([]byte, wireBuffer), now
		op := c.nextRequest(now)
		op = c.step(event{n: copy(op.buf, client.KeyUpdate(true)), now: now})
		if op.kind != opSend || c.then != thenReadRequest {
			t.Errorf("operation %d, then %v; want %d, %v", op.kind, c.then, opSend, thenReadRequest)
		}
	})
}
