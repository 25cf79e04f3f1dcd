package server

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/files"
	"uringhttpd/service/flow"
)

// TestPushRepeatsWhileEngineHoldsRecords: records that leave the engine while poll(2) waits for
// room may stay in TCP forever, so the push is repeated while kernel TLS holds any. A client that
// acknowledges nothing is still reset in time.
func TestPushRepeatsWhileEngineHoldsRecords(t *testing.T) {
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
		for rounds := 0; op.kind == opWritable; rounds++ {
			if sock.pushes > 20 || rounds > 100 {
				t.Fatalf("async %t: %d pushes in %d rounds", async, sock.pushes, rounds)
			}
			if first := op.deadline.Sub(begin); rounds == 0 && (first < 50*time.Millisecond) != async {
				t.Errorf("async %t: pushed again after %v", async, first)
			}
			now = op.deadline
			op = c.step(event{err: unix.ECANCELED, late: true, now: now})
		}
		if took := now.Sub(begin); op.kind != opClose || took != ts.gen.stallTimeout || async != (sock.pushes > 3) || !async && sock.pushes != 1 {
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
	for op.kind == opWritable {
		now = op.deadline
		op = c.step(event{err: unix.ECANCELED, late: true, now: now})
	}
	if op.kind != opClose || sock.pushes != 2 {
		t.Errorf("nothing is inside: operation %d, %d pushes, want one more after the first", op.kind, sock.pushes)
	}
}

// TestStallTimeoutIsAccurate: a client that acknowledges some bytes each second is served for as
// long as that takes, and one that stops is reset a stall_timeout later, and at most a second more.
func TestStallTimeoutIsAccurate(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, waits := range []string{"transfer", "alert"} {
		sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1 << 20, Unsent: 1 << 20, Acked: 1000}}
		c := newConn(ts.environment(), sock, endpoint{}, nil)
		c.startKernelTLS()
		c.flow.Acknowledge(sock.reading)
		begin := time.Now()
		now := begin
		c.wait.progressed = now
		c.state = stTransfer
		op := c.waitWritable(now)
		if waits == "alert" {
			c.finish(now)
			op = c.step(event{err: unix.EAGAIN, now: now})
		}
		const served = 10*time.Minute + 7*time.Second
		last := begin // acknowledgement
		for steps := 0; op.kind != opClose; steps++ {
			if steps > 2000 {
				t.Fatalf("%s: no end after %v", waits, now.Sub(begin))
			}
			if op.kind == opAlert {
				op = c.step(event{err: unix.EAGAIN, now: now})
				continue
			}
			for at := last.Add(900 * time.Millisecond); !at.After(op.deadline) && at.Sub(begin) < served; at = at.Add(900 * time.Millisecond) {
				sock.reading.Acked++
				last = at
			}
			now = op.deadline
			op = c.step(event{err: unix.ECANCELED, late: true, now: now})
		}
		if took := now.Sub(last); now.Sub(begin) < served || took < ts.gen.stallTimeout || took > ts.gen.stallTimeout+progressInterval {
			t.Errorf("%s: reset %v after the last acknowledgement and %v after the begin", waits, took, now.Sub(begin))
		}
	}
}

// TestSlowPushIsNoStall: a push may take longer than stall_timeout while the engine is busy with
// others, which does not mean that the client is stalled.
func TestSlowPushIsNoStall(t *testing.T) {
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
	sock.reading.Pending = flow.MaxPending // so the rest has to wait
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

// TestEngineExcusesNoClientTwice: after a push that waited for the engine for longer than
// stall_timeout, the client has one stall_timeout, to the second.
func TestEngineExcusesNoClientTwice(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, state := range []string{"transfer", "alert"} {
		sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1 << 20, Acked: 1000}}
		c := newConn(ts.environment(), sock, endpoint{}, nil)
		c.startKernelTLS()
		c.async = true
		c.flow.Acknowledge(sock.reading)
		begin := time.Now()
		c.transfer = transfer{pieces: []piece{{mem: make([]byte, 400<<10)}}}
		if state == "alert" {
			c.transfer = transfer{}
			c.finish(begin)
		} else {
			c.send(begin, thenEndResponse)
		}
		pushed := begin.Add(3 * ts.gen.stallTimeout)
		sock.reading.Acked++ // the last byte, before the push ended
		now := pushed
		op := c.step(event{err: unix.EAGAIN, now: now})
		for op.kind == opWritable {
			now = op.deadline
			op = c.step(event{err: unix.ECANCELED, late: true, now: now})
		}
		if took := now.Sub(pushed); op.kind != opClose || took < ts.gen.stallTimeout || took > ts.gen.stallTimeout+progressInterval {
			t.Errorf("%s: operation %d after %v, want a reset after %v", state, op.kind, took, ts.gen.stallTimeout)
		}
	}
}

// TestLocalClientGetsCopies: on one machine, bytes that the client's side has acknowledged and the
// client has not read must not change with the file.
func TestLocalClientGetsCopies(t *testing.T) {
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

// TestAdjacentFileParts: a response may consist of parts of files without memory between them.
func TestAdjacentFileParts(t *testing.T) {
	h := &directory{dir: t.TempDir()}
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

// TestDownload: files around all limits of size arrive whole, on a new and on a persistent
// connection.
func TestDownload(t *testing.T) {
	h := &directory{dir: t.TempDir()}
	ts := startServer(t, h, nil)
	for _, size := range []int{0, 1, 16 << 10, 64 << 10, 64<<10 + 1, 80 << 10, 1<<20 + 1, 8 << 20} {
		name := fmt.Sprint(size)
		want := h.file(t, name, size)
		for _, withTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d,tls=%v", size, withTLS), func(t *testing.T) {
				c, base := ts.client(t, withTLS)
				for range 2 { // the second on the kept connection
					res, err := c.Get(base + "/" + name)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil || res.StatusCode != 200 || res.ContentLength != int64(size) {
						t.Fatalf("status %d, length %d, %d bytes, %v", res.StatusCode, res.ContentLength, len(got), err)
					}
					if sha256.Sum256(got) != sha256.Sum256(want) {
						t.Error("wrong bytes")
					}
				}
			})
		}
	}
	h.allReleased(t)
}

// TestRangeBeyond4GiB: offsets are 64 bits wide on the whole path.
func TestRangeBeyond4GiB(t *testing.T) {
	h := &directory{dir: t.TempDir()}
	f, err := os.Create(filepath.Join(h.dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	const at = 5 << 30
	want := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	if _, err := f.WriteAt(want, at); err != nil {
		t.Fatal(err)
	}
	f.Close()
	ts := startServer(t, h, nil)
	for _, withTLS := range []bool{false, true} {
		c, base := ts.client(t, withTLS)
		req, _ := http.NewRequest("GET", base+"/sparse", nil)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", int64(at)))
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 206 || !bytes.Equal(got, want) {
			t.Errorf("tls %v: status %d, %d bytes of %d, %v", withTLS, res.StatusCode, len(got), len(want), err)
		}
	}
}
