package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// TestCancelledCloseIsRepeated: a close that was cancelled before it began is repeated, and no
// other close is.
func TestCancelledCloseIsRepeated(t *testing.T) {
	for _, tc := range []struct {
		result int32
		open   int
	}{{0, 1}, {-int32(unix.ECANCELED), 0}, {-int32(unix.EIO), 1}} {
		w := newWorld(&script{}, newSimIdentity(t))
		sock := w.clients[0].sock
		sock.fd, w.sockets[3] = 3, sock
		w.loop.slots = []*slot{{conn: &conn{state: stClosed}, fd: 3, heapIndex: -1, owner: ownerRing}}
		w.loop.completeAtExit(uring.Completion{Token: w.ringToken(0), Result: tc.result})
		if len(w.sockets) != tc.open { // the world's own close has not run, so these are the descriptors that completeAtExit left
			t.Errorf("a close that ended with %d: %d descriptors are open, want %d", tc.result, len(w.sockets), tc.open)
		}
	}
}

// TestAbortClosesDescriptorsOnce: all descriptors are closed, each once, when the server is aborted
// while clients connect and leave.
func TestAbortClosesDescriptorsOnce(t *testing.T) {
	before := openFiles(t)
	for range 10 {
		ts := startServer(t, http.NotFoundHandler(), nil)
		first, quit := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(quit)
			for i := 0; ; i++ {
				c, err := net.DialTimeout("tcp", ts.plain, time.Second)
				if err != nil {
					return
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
				if i == 5 {
					close(first)
				}
			}
		}()
		<-first
		ts.Abort()
		err := <-ts.ended
		ts.ended <- err
		if !errors.Is(err, ErrAborted) {
			t.Errorf("Run: %v", err)
		}
		<-quit
	}
	for end := time.Now().Add(20 * time.Second); openFiles(t) > before+2; {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors, before %d", openFiles(t), before)
		}
		time.Sleep(10 * time.Millisecond) // a goroutine's dial may be on its way out
	}
}

// TestShutdownAfterEndWritesNothing: after Run has returned, the number of the waker's descriptor
// may belong to another file.
func TestShutdownAfterEndWritesNothing(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	ts.Shutdown()
	err := <-ts.ended
	ts.ended <- err
	path := filepath.Join(t.TempDir(), "f")
	var opened []*os.File
	for range 8 { // one of them gets the number
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, f)
	}
	ts.Shutdown()
	for _, f := range opened {
		f.Close()
	}
	if data, err := os.ReadFile(path); err != nil || len(data) > 0 {
		t.Errorf("another file holds %q, %v", data, err)
	}
}

// TestShutdownCompletesTransfers: a transfer in progress completes, an idle connection is closed,
// and no client is accepted.
func TestShutdownCompletesTransfers(t *testing.T) {
	h := &directory{dir: t.TempDir()}
	want := h.file(t, "f", 16<<20)
	for _, withTLS := range []bool{false, true} {
		ts := startServer(t, h, func(o *Options) { o.IdleTimeout = time.Hour })
		c, base := ts.client(t, withTLS)
		idle, idleBase := ts.client(t, withTLS)
		res, err := idle.Get(idleBase + "/none")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res, err = c.Get(base + "/f"); err != nil {
			t.Fatal(err)
		}
		ts.Shutdown()
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("tls %v: %d bytes of %d, %v", withTLS, len(got), len(want), err)
		}
		select {
		case err := <-ts.ended:
			if err != nil {
				t.Error(err)
			}
			ts.ended <- nil
		case <-time.After(30 * time.Second):
			t.Fatal("the server did not end")
		}
		if c, err := net.Dial("tcp", ts.plain); err == nil {
			c.Close()
			t.Error("a connection after the end")
		}
	}
}
