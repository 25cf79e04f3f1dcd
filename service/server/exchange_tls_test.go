package server

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/rawtls"
)

// TestKeyUpdateAnsweredBeforeNextReceive: the answer to a key update is sent before more is
// received, so that a client cannot accumulate answers in our memory.
func TestKeyUpdateAnsweredBeforeNextReceive(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	session, client := handshaken(t, ts)
	c := newConn(ts.environment(), &scriptedSocket{}, endpoint{}, session)
	c.transport, c.input.wire = user, make([]byte, wireBuffer)
	now := time.Now()
	c.input.since = now
	op := c.nextRequest(now)
	for range 3 {
		if op.kind != opRecv {
			t.Fatalf("operation %d, want more to be received", op.kind)
		}
		op = c.step(event{n: copy(op.buf, client.KeyUpdate(true)), now: now})
		if op.kind != opSend || len(op.buf) == 0 {
			t.Fatalf("operation %d with %d bytes, want an answer to be sent", op.kind, len(op.buf))
		}
		op = c.step(event{n: len(op.buf), now: now})
	}
}

// TestTLSViolationGetsAlert: a client that violates TLS gets the alert that RFC 8446 names, and
// then the end of the stream: at the start, after a request, and together with a request, which may
// be answered before.
func TestTLSViolationGetsAlert(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, v := range rawtls.Violations() {
		for _, when := range []string{"first", "after a request", "with a request"} {
			t.Run(v.Name+", "+when, func(t *testing.T) {
				c := ts.dialRaw(t)
				var stream []byte
				if when != "first" {
					stream = c.Seal(rawtls.ApplicationData, []byte(getRequest), 0)
				}
				if when == "after a request" {
					c.Conn.Write(stream)
					stream = nil
					readAnswer(t, c)
				}
				if _, err := c.Conn.Write(append(stream, v.Make(c)...)); err != nil {
					t.Fatal(err)
				}
				data, alert, err := c.ReadAll()
				if err != nil || alert != v.Alert {
					t.Errorf("got alert %d, %v; want alert %d and the end", alert, err, v.Alert)
				}
				if answered := strings.HasSuffix(string(data), "hello"); len(data) > 0 && (!answered || when != "with a request") {
					t.Errorf("got %q", data)
				}
			})
		}
	}
}

// TestKeyUpdateInUserSpace: with TLS in user space, a client may change its keys, and request a
// change of ours.
func TestKeyUpdateInUserSpace(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, requested := range []bool{false, true} {
		c := ts.dialRaw(t)
		for i := range 3 {
			// In the middle of a request, and between two.
			stream := slices.Concat(c.Seal(rawtls.ApplicationData, []byte(getRequest[:10]), 0), c.KeyUpdate(requested),
				c.Seal(rawtls.ApplicationData, []byte(getRequest[10:]), 100))
			if _, err := c.Conn.Write(stream); err != nil {
				t.Fatal(err)
			}
			if got := readAnswer(t, c); got != requested {
				t.Errorf("requested %v, request %d: KeyUpdate received: %v", requested, i, got)
			}
		}
		c.Conn.Write(c.Seal(rawtls.Alert, []byte{1, rawtls.CloseNotify}, 0))
		if data, alert, err := c.ReadAll(); err != nil || alert != rawtls.CloseNotify || len(data) > 0 {
			t.Errorf("got %q, alert %d, %v; want close_notify", data, alert, err)
		}
	}
}

// TestAlertEndsIdleConnection: close_notify ends a connection in order, and a fatal alert ends it
// at once, without an alert from us.
func TestAlertEndsIdleConnection(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, tc := range []struct {
		name    string
		alert   []byte
		inOrder bool
	}{
		{"close_notify", []byte{1, rawtls.CloseNotify}, true},
		{"fatal", []byte{2, rawtls.BadRecordMAC}, false},
		{"unknown, as a warning", []byte{1, 200}, false},
	} {
		c := ts.dialRaw(t)
		c.Conn.Write(c.Seal(rawtls.Alert, tc.alert, 0))
		_, alert, err := c.ReadAll()
		switch {
		case tc.inOrder && (err != nil || alert != rawtls.CloseNotify):
			t.Errorf("%s: got alert %d, %v, want close_notify", tc.name, alert, err)
		case !tc.inOrder && (!errors.Is(err, syscall.ECONNRESET) || alert != -1):
			t.Errorf("%s: got alert %d, %v, want a reset", tc.name, alert, err)
		}
	}
}

// TestHalfClosedClientGetsResponse: a client may close its side as soon as it has sent its request.
func TestHalfClosedClientGetsResponse(t *testing.T) {
	preferAES(t)
	ts := startServer(t, hello, nil)
	for _, sent := range []string{"", getRequest} {
		c := ts.dialRaw(t)
		if sent != "" {
			c.Conn.Write(c.Seal(rawtls.ApplicationData, []byte(sent), 0))
		}
		c.Conn.(*net.TCPConn).CloseWrite()
		data, alert, err := c.ReadAll()
		if err != nil || alert != rawtls.CloseNotify || strings.HasSuffix(string(data), "hello") != (sent != "") {
			t.Errorf("sent %q: got %q, alert %d, %v", sent, data, alert, err)
		}
	}
}
