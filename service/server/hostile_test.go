package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/files"
	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
	"uringhttpd/uring"
)

// TestBlankFlood: a client that always has sent something more, which never
// becomes a request, is not kept beyond header_timeout, and does not hold up
// the end of the service.
func TestBlankFlood(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.HeaderTimeout = 500 * time.Millisecond })
		ended := make(chan error, 2)
		for range cap(ended) {
			c := ts.dial(t, withTLS)
			go func() {
				blank := bytes.Repeat([]byte("\r\n"), 8<<10)
				for {
					if _, err := c.Write(blank); err != nil {
						ended <- err
						return
					}
				}
			}()
		}
		for range cap(ended) {
			if err := <-ended; os.IsTimeout(err) {
				t.Errorf("tls %v: the client is still there: %v", withTLS, err)
			}
		}
		ts.Shutdown()
		select {
		case err := <-ts.ended:
			ts.ended <- err
		case <-time.After(20 * time.Second):
			t.Errorf("tls %v: Run does not end", withTLS)
		}
	}
}

// TestLateInput: bytes that come after the deadline do not make it later, though
// no operation was late.
func TestLateInput(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, tc := range []struct {
		input    string
		response bool // else a quiet end: nothing was asked for
	}{{"x", true}, {"\r\n", false}} {
		sock := &scriptedSocket{}
		c := newConn(ts.environment(), sock, endpoint{}, nil)
		now := time.Now()
		op := c.start(now)
		for _, at := range []time.Duration{1, ts.gen.headerTimeout / 2, ts.gen.headerTimeout - 1} {
			if op.kind != opRecv {
				t.Fatalf("operation %d before %v", op.kind, at)
			}
			op = c.step(event{n: copy(op.buf, tc.input), now: now.Add(at)})
		}
		op = c.step(event{n: copy(op.buf, tc.input), now: now.Add(ts.gen.headerTimeout + 1)})
		if (op.kind == opSend) != tc.response || sock.shutdown == tc.response {
			t.Errorf("%q: operation %d, FIN %v after header_timeout, want a response: %v", tc.input, op.kind, sock.shutdown, tc.response)
		}
	}
}

// TestLateLook: a request that came before anybody looked, which is after its time, is
// answered; on a kept connection it came in time.
func TestLateLook(t *testing.T) {
	ts := startServer(t, hello, nil)
	for _, came := range []string{getRequest, ""} {
		sock := &scriptedSocket{}
		c := newConn(ts.environment(), sock, endpoint{}, nil)
		now := time.Now()
		op := c.start(now)
		op = c.step(event{n: copy(op.buf, getRequest), now: now})
		op.job()
		op = c.step(event{now: now})
		if op = c.step(event{n: len(op.buf), now: now}); op.kind != opRecv {
			t.Fatalf("operation %d after a response", op.kind)
		}
		sock.came = came
		now = now.Add(2 * ts.gen.idleTimeout)
		op = c.step(event{err: unix.ECANCELED, late: true, now: now})
		if answered := op.kind == opJob; answered != (came != "") || sock.shutdown == answered {
			t.Errorf("%q came: operation %d, FIN %v", came, op.kind, sock.shutdown)
		}
	}
}

// scriptedSocket is a socket whose meter says what the test wants.
type scriptedSocket struct {
	reading  ktls.Reading
	shutdown bool
	aborted  bool
	err      error  // of Err
	came     string // of the client
	unsent   int    // of LimitUnsent
	pushes   int
}

func (s *scriptedSocket) Offload(*ktls.Session) error    { return errors.ErrUnsupported }
func (s *scriptedSocket) Sent(int)                       {}
func (s *scriptedSocket) Reading() (ktls.Reading, error) { return s.reading, nil }
func (s *scriptedSocket) Pipe() (*pipe, error)           { return nil, unix.EMFILE }
func (s *scriptedSocket) LimitUnsent(n int)              { s.unsent = n }
func (s *scriptedSocket) ResizePipe(*pipe, int) error    { return unix.EPERM }
func (s *scriptedSocket) ClosePipe(*pipe)                {}
func (s *scriptedSocket) Received(p []byte) int          { return copy(p, s.came) }
func (s *scriptedSocket) Abort()                         { s.aborted = true }
func (s *scriptedSocket) Err() error                     { return s.err }
func (s *scriptedSocket) Empty() bool                    { return true }
func (s *scriptedSocket) HangUp()                        {}

func (s *scriptedSocket) Push() { s.pushes++ }

func (s *scriptedSocket) Shutdown() error {
	s.shutdown = true
	return nil
}

// TestPushAgain: what comes out of the engine while poll(2) is asked for room may stay
// in TCP for ever, so it is pushed again, while there is something inside; a client that
// takes nothing is reset in time all the same.
func TestPushAgain(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, async := range []bool{true, false} {
		sock := &scriptedSocket{reading: ktls.Reading{Pending: 16406, Unacked: 16406, Unsent: 16406, Acked: 1000}}
		c := newConn(ts.environment(), sock, endpoint{}, nil)
		c.startKernelTLS()
		c.async, c.state = async, stTransfer
		c.flow.Acknowledge(sock.reading)
		begin := time.Now()
		now := begin
		c.wait.progressed = now
		op := c.waitWritable(now)
		for rounds := 0; op.kind == opRoom; rounds++ {
			if sock.pushes != rounds+1 || rounds > 20 {
				t.Fatalf("async %t: %d pushes in %d rounds", async, sock.pushes, rounds)
			}
			if first := op.deadline.Sub(begin); rounds == 0 && (first < 50*time.Millisecond) != async {
				t.Errorf("async %t: pushed again after %v", async, first)
			}
			now = op.deadline
			op = c.step(event{err: unix.ECANCELED, late: true, now: now})
		}
		if took := now.Sub(begin); op.kind != opClose || took != ts.gen.stallTimeout || async != (sock.pushes > 3) {
			t.Errorf("async %t: operation %d after %v and %d pushes, want a close after %v", async, op.kind, took, sock.pushes, ts.gen.stallTimeout)
		}
	}
	sock := &scriptedSocket{reading: ktls.Reading{Unacked: 16406, Unsent: 16406, Acked: 1000}}
	c := newConn(ts.environment(), sock, endpoint{}, nil)
	c.startKernelTLS()
	c.async, c.state = true, stTransfer
	c.flow.Acknowledge(sock.reading)
	now := time.Now()
	c.wait.progressed = now
	op := c.waitWritable(now)
	op = c.step(event{err: unix.ECANCELED, late: true, now: op.deadline})
	if op.kind != opRoom || op.deadline.Sub(now) != ts.gen.stallTimeout || sock.pushes != 2 {
		t.Errorf("nothing is inside: operation %d until %v, %d pushes", op.kind, op.deadline.Sub(now), sock.pushes)
	}
}

// TestSlowNotify: a client that takes what is before close_notify, if slowly, is
// not reset for it; one that takes nothing is.
func TestSlowNotify(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, tc := range []struct {
		name  string
		taken int64 // bytes during one stall_timeout
		want  opKind
	}{{"slow", 100 << 10, opAlert}, {"stalled", 0, opClose}} {
		sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1 << 20, Acked: 1000}}
		c := newConn(ts.environment(), sock, endpoint{}, nil)
		c.startKernelTLS()
		now := time.Now()
		if op := c.finish(now); op.kind != opAlert {
			t.Fatalf("finish asks for %d", op.kind)
		}
		if op := c.step(event{err: unix.EAGAIN, now: now}); op.kind != opRoom {
			t.Fatalf("EAGAIN leads to %d", op.kind)
		}
		sock.reading.Acked += tc.taken
		op := c.step(event{err: unix.ECANCELED, late: true, now: now.Add(ts.gen.stallTimeout)})
		if op.kind != tc.want || sock.shutdown {
			t.Errorf("%s: got operation %d, shutdown %v, want operation %d", tc.name, op.kind, sock.shutdown, tc.want)
		}
	}
}

// TestEngineError: an engine that fails while nothing but its end is waited for ends
// the connection then; nothing else tells of it.
func TestEngineError(t *testing.T) {
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

// TestLongPush: a push may take longer than stall_timeout, since an engine is busy with
// others; that says nothing of the client.
func TestLongPush(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	sock := &scriptedSocket{}
	c := newConn(ts.environment(), sock, endpoint{}, nil)
	c.startKernelTLS()
	c.async = true
	now := time.Now()
	c.transfer = transfer{pieces: []piece{{mem: make([]byte, 400<<10)}}}
	op := c.send(now, thenEndResponse)
	if op.kind != opSend {
		t.Fatalf("operation %d, want a push", op.kind)
	}
	sock.reading.Pending = flow.MaxPending // so what is left has to wait
	now = now.Add(2 * ts.gen.stallTimeout)
	if op = c.step(event{n: op.n, now: now}); op.kind != opWait {
		t.Fatalf("operation %d after a push that took long, want a wait", op.kind)
	}
	if op = c.step(event{late: true, now: now.Add(ts.gen.stallTimeout)}); op.kind != opClose {
		t.Errorf("operation %d after stall_timeout, want a reset", op.kind)
	}
	c.transfer, c.state = transfer{}, stTransfer
	if op = c.finish(now); op.kind != opWait {
		t.Fatalf("operation %d, want the drain", op.kind)
	}
	sock.reading.Pending = 0
	if op = c.step(event{late: true, now: now}); op.kind != opAlert {
		t.Fatalf("operation %d, want close_notify", op.kind)
	}
	sock.reading.Pending = 24
	now = now.Add(2 * ts.gen.stallTimeout)
	if op = c.step(event{n: 2, now: now}); op.kind != opWait {
		t.Errorf("operation %d after a close_notify that took long, want the drain", op.kind)
	}
}

// TestNotifyDoesNotSpin: a socket that refuses close_notify, and has room whenever
// poll(2) is asked, is tried again after a pause, and not for ever.
func TestNotifyDoesNotSpin(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	c := newConn(ts.environment(), &scriptedSocket{}, endpoint{}, nil)
	c.startKernelTLS()
	start := time.Now()
	now, waits := start, 0
	op := c.finish(now)
	for steps := 0; op.kind != opClose; steps++ {
		if steps > 10_000 || steps > 10 && waits == 0 {
			t.Fatalf("%d operations and %d pauses in %v, and no end", steps, waits, now.Sub(start))
		}
		switch op.kind {
		case opAlert:
			op = c.step(event{err: unix.EAGAIN, now: now})
		case opRoom:
			op = c.step(event{n: unix.POLLOUT, now: now})
		case opWait:
			waits++
			now = op.deadline
			op = c.step(event{late: true, now: now})
		default:
			t.Fatalf("operation %d", op.kind)
		}
	}
}

// TestKeyUpdates: the answer to a key update is sent before more is received, so a
// client cannot pile answers up.
func TestKeyUpdates(t *testing.T) {
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

// TestLateHandshake: the same for a handshake of which a little more always comes.
func TestLateHandshake(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	session, err := ts.gen.sessions.Session()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	c := newConn(ts.environment(), &scriptedSocket{}, endpoint{}, session)
	now := time.Now()
	op := c.start(now)
	for _, at := range []time.Duration{1, ts.gen.headerTimeout - 1, ts.gen.headerTimeout + 1} {
		if op.kind != opRecv {
			t.Fatalf("operation %d before %v", op.kind, at)
		}
		op = c.step(event{n: copy(op.buf, []byte{22}), now: now.Add(at)})
		if op.kind != opHandshake {
			t.Fatalf("operation %d, want the handshake to be computed", op.kind)
		}
		op.job()
		op = c.step(event{now: now.Add(at)})
	}
	if op.kind != opClose {
		t.Errorf("operation %d after header_timeout, want the end", op.kind)
	}
}

// TestAbandoned: a client that does not take the end of what was sent is reset,
// however much it sends itself.
func TestAbandoned(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, tc := range []struct {
		name string
		wait time.Duration // between two receives
		n    int           // bytes of each
	}{{"it takes nothing", time.Second, 1}, {"it floods", 0, wireBuffer}} {
		t.Run(tc.name, func(t *testing.T) {
			sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1}}
			c := newConn(ts.environment(), sock, endpoint{}, nil)
			now := time.Now()
			op := c.shutdown(now)
			for steps := 0; op.kind == opRecv; steps++ {
				if steps > lingerFlood/wireBuffer+int(ts.gen.stallTimeout/time.Second) {
					t.Fatal("no end")
				}
				now = now.Add(tc.wait)
				op = c.step(event{n: tc.n, now: now})
			}
			if op.kind != opClose || !sock.aborted {
				t.Errorf("operation %d, reset %v; want a close that resets", op.kind, sock.aborted)
			}
		})
	}
}

// TestAcceptWaits: while many handshakes wait for their turn, no client is
// accepted that needs one.
func TestAcceptWaits(t *testing.T) {
	w := newWorld(&script{}, newSimIdentity(t))
	l := w.loop
	l.accepts = make([]uring.Handle, len(l.listeners))
	l.handshakes = maxHandshakes
	l.accept()
	if l.accepts[0] == 0 || l.accepts[1] != 0 {
		t.Errorf("accepts in the ring, by listener: %v; want the plain one's alone", l.accepts)
	}
	l.handshakes--
	if l.accept(); l.accepts[1] == 0 {
		t.Error("no accept when a handshake has ended")
	}
}

// TestCancelledClose: a close that was cancelled before it began is made up for,
// and no other is.
func TestCancelledClose(t *testing.T) {
	for _, tc := range []struct {
		result int32
		open   int
	}{{0, 1}, {-int32(unix.ECANCELED), 0}, {-int32(unix.EIO), 1}} {
		w := newWorld(&script{}, newSimIdentity(t))
		sock := w.clients[0].sock
		sock.fd, w.sockets[3] = 3, sock
		w.loop.slots = []*slot{{conn: &conn{state: stClosed}, fd: 3, heapIndex: -1, owner: ownerRing}}
		w.loop.completeAtExit(uring.Completion{Token: w.ringToken(0), Result: tc.result})
		if len(w.sockets) != tc.open { // the world's own close has not run: what is left is what discard left
			t.Errorf("a close that ended with %d: %d descriptors are open, want %d", tc.result, len(w.sockets), tc.open)
		}
	}
}

// TestFailedHandler: a handler that fails has its files given back, once.
func TestFailedHandler(t *testing.T) {
	w := newWorld(&script{}, newSimIdentity(t))
	f := &simOpen{w: w, size: 1000}
	h := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		f.Acquire()
		defer f.Release()
		io.CopyN(rw, io.NewSectionReader(f, 0, f.size), f.size)
		panic("oops")
	})
	res, err := http1.Serve(context.Background(), h, httptest.NewRequest("GET", "/", nil), http1.Options{MayBlock: true, MayPostpone: true})
	if err == nil {
		t.Error("no error")
	}
	http1.Release(res.Segments) // as the end of the loop does with what it finds
	if f.refs != 0 {
		t.Errorf("%d references are left", f.refs)
	}
}

// TestOneHostOverwritten: on one machine, what the client's side acknowledged but
// did not read must not change with the file.
func TestOneHostOverwritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	old := bytes.Repeat([]byte{'A'}, 1<<20)
	if err := os.WriteFile(path, old, 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ts := startServerOn(t, files.New(root, files.Options{}), nil, sameHost)
	c, err := net.Dial("tcp", ts.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.(*net.TCPConn).SetReadBuffer(4 << 20)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	ts.awaitLog(t, "msg=request")
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte{'B'}, 1<<20)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	got, err := io.ReadAll(c)
	_, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	if err == nil && !bytes.Equal(body, old) {
		t.Errorf("a clean end, and %d of %d bytes are of another file", bytes.Count(body, []byte("B")), len(body))
	}
}

// TestHandshakesApart: handshakes, however many wait for their turn, do not hold
// up what other connections need workers for.
func TestHandshakesApart(t *testing.T) {
	h := &folder{dir: t.TempDir()}
	want := h.file(t, "f", 1<<20)
	turn := make(chan struct{})
	ts := startServer(t, h, func(o *Options) {
		o.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			<-turn
			return nil, nil
		}
	})
	handshakes := make(chan error)
	const clients = 40 // more than there are workers of any kind
	for range clients {
		c := ts.dial(t, true).(*tls.Conn)
		go func() { handshakes <- c.Handshake() }()
	}
	c := ts.dial(t, false)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	got, err := io.ReadAll(c)
	if err != nil || !bytes.HasSuffix(got, want) {
		t.Errorf("beside %d handshakes: %d bytes, %v", clients, len(got), err)
	}
	close(turn)
	for range clients {
		if err := <-handshakes; err != nil {
			t.Error(err)
		}
	}
}

// TestAdjacentParts: parts of files without memory between them.
func TestAdjacentParts(t *testing.T) {
	h := &folder{dir: t.TempDir()}
	data := h.file(t, "f", 200<<10)
	ts := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(filepath.Join(h.dir, "f"))
		if err != nil {
			panic(err)
		}
		s := &testFile{File: f, held: &h.held}
		s.Acquire()
		defer s.Release()
		for range 2 {
			io.CopyN(w, io.NewSectionReader(s, 0, int64(len(data))), int64(len(data)))
		}
	}), nil)
	for _, withTLS := range []bool{false, true} {
		c, base := ts.client(t, withTLS)
		res, err := c.Get(base + "/")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, append(data[:len(data):len(data)], data...)) {
			t.Errorf("tls %v: %d bytes, %v", withTLS, len(got), err)
		}
	}
}

// TestAbortGivesBack: descriptors are closed once, and all of them, when the
// server is aborted while clients come and go.
func TestAbortGivesBack(t *testing.T) {
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

// TestShutdownAfterEnd: the waker's descriptor belongs to others by then.
func TestShutdownAfterEnd(t *testing.T) {
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
		t.Errorf("somebody's file holds %q, %v", data, err)
	}
}

// awaitLog waits for a line of the log.
func (ts *testServer) awaitLog(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(ts.log.String(), text); {
		if time.Now().After(end) {
			t.Fatalf("%q is not in the log", text)
		}
		time.Sleep(time.Millisecond) // the log is the only sign
	}
}
