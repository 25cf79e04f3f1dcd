package server

import (
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// TestSocketErrorEndsPoll: an engine that fails while the connection only polls the meter ends the
// connection. Only the socket's error reports it.
func TestSocketErrorEndsPoll(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	sock := &scriptedSocket{reading: ktls.Reading{Pending: 1000, Acked: 1000}}
	c := newConn(ts.environment(), sock, endpoint{}, nil)
	c.startKernelTLS()
	now := time.Now()
	for op := c.finish(now); op.kind != opClose; op = c.step(event{late: true, now: now}) {
		if op.kind != opWait || sock.err != nil {
			t.Fatalf("operation %d, the socket's error %v", op.kind, sock.err)
		}
		sock.err = unix.EIO
	}
	if sock.shutdown {
		t.Error("the connection ends in order")
	}
}
