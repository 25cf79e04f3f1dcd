package server

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// A hungDisk is a handler for files of a directory. Those below /cold cannot be opened
// without waiting for a disk, those below /far can, and not be read; and that disk hangs
// until answers is closed. All others are in memory.
type hungDisk struct {
	directory
	answers chan struct{}
	waits   chan struct{} // for each that waits, one
}

func newHungDisk(t *testing.T) *hungDisk {
	return &hungDisk{directory: directory{dir: t.TempDir()}, answers: make(chan struct{}), waits: make(chan struct{}, 1000)}
}

func (h *hungDisk) wait() {
	h.waits <- struct{}{}
	<-h.answers
}

func (h *hungDisk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch filepath.Dir(r.URL.Path) {
	case "/cold":
		if !http1.MayBlock(r) {
			http1.WouldBlock(r)
			return
		}
		h.wait()
	case "/far":
		w = &fromHung{w.(*http1.Response), h}
	}
	h.directory.ServeHTTP(w, r)
}

// fromHung passes parts of files on as parts of files on the hung disk.
type fromHung struct {
	*http1.Response
	disk *hungDisk
}

func (w *fromHung) ReadFrom(src io.Reader) (int64, error) {
	if s, ok := http1.FilePart(src); ok {
		file := &hungFile{s.File.(*testFile), w.disk}
		src = &io.LimitedReader{R: io.NewSectionReader(file, s.Off, s.N), N: s.N}
	}
	return w.Response.ReadFrom(src)
}

type hungFile struct {
	*testFile
	disk *hungDisk
}

func (f *hungFile) ReadNow([]byte, int64) (int, error) { return 0, unix.EAGAIN }

func (f *hungFile) ReadAt(p []byte, off int64) (int, error) {
	f.disk.wait()
	return f.testFile.ReadAt(p, off)
}

// request sends a request for a path.
func (ts *testServer) request(t *testing.T, path string, withTLS bool) net.Conn {
	t.Helper()
	c := ts.dial(t, withTLS)
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHungStorageDelaysNobodyElse: clients that wait for storage that hangs, however many, delay no
// other client, and get everything once it answers.
func TestHungStorageDelaysNobodyElse(t *testing.T) {
	disk := newHungDisk(t)
	want := disk.file(t, "f", 40_000)
	ts := startServer(t, disk, nil)
	var waiting []net.Conn
	for i := range 4 * max(diskOps, runtime.GOMAXPROCS(0)) { // more than there are workers of any kind
		waiting = append(waiting, ts.request(t, []string{"/cold/f", "/far/f"}[i%2], i%4 < 2))
	}
	for range diskOps {
		<-disk.waits
	}
	for _, withTLS := range []bool{false, true} {
		c := ts.request(t, "/f", withTLS)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if got, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(got, want) {
			t.Errorf("beside a disk that hangs, tls %v: %d bytes, %v", withTLS, len(got), err)
		}
	}
	close(disk.answers)
	for i, c := range waiting {
		if got, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(got, want) {
			t.Errorf("client %d, once the disk answers: %d bytes, %v", i, len(got), err)
		}
	}
}

// TestQueuedJobTimesOut: a client whose job is only queued behind jobs that wait for storage gets
// 503 after stall_timeout.
func TestQueuedJobTimesOut(t *testing.T) {
	disk := newHungDisk(t)
	want := disk.file(t, "f", 40_000)
	ts := startServer(t, disk, func(o *Options) { o.StallTimeout = 100 * time.Millisecond })
	var waiting []net.Conn
	for range diskOps {
		waiting = append(waiting, ts.request(t, "/far/f", false))
		<-disk.waits
	}
	for _, path := range []string{"/cold/f", "/far/f"} {
		for _, withTLS := range []bool{false, true} {
			c := ts.request(t, path, withTLS)
			c.SetDeadline(time.Now().Add(5 * time.Second))
			got, err := io.ReadAll(c)
			if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 503 ")) || !bytes.Contains(got, []byte("\r\nRetry-After: ")) {
				t.Errorf("%s, tls %v: %q, %v", path, withTLS, got, err)
			}
		}
	}
	close(disk.answers)
	for i, c := range waiting {
		if got, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(got, want) {
			t.Errorf("client %d, once the disk answers: %d bytes, %v", i, len(got), err)
		}
	}
	disk.allReleased(t)
}

// TestShutdownWhileStorageHangs: the service stops although storage hangs, and its clients can tell
// that data is missing.
func TestShutdownWhileStorageHangs(t *testing.T) {
	for _, path := range []string{"/cold/f", "/far/f"} {
		disk := newHungDisk(t)
		disk.file(t, "f", 40_000)
		ts := startServer(t, disk, func(o *Options) { o.StallTimeout = 100 * time.Millisecond })
		c := ts.request(t, path, false)
		<-disk.waits
		ts.Shutdown()
		if got, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: %q, %v, want a reset", path, got, err)
		}
		err := <-ts.ended
		ts.ended <- err
		if !errors.Is(err, ErrStorage) {
			t.Errorf("%s: %v, want %v", path, err, ErrStorage)
		}
		close(disk.answers)
	}
}

// TestHungStorageIsLoggedOnce: one line says that storage does not answer, and one that it answers
// again.
func TestHungStorageIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	sys := &engineSystem{clock: time.Unix(1e9, 0)}
	env := driveSettings(nil)
	s := &Server{gen: env.gen, proc: env.proc}
	s.gen.log = slog.New(slog.NewTextHandler(&log, nil))
	disk := &manualPool{}
	l := &loop{Server: s, shared: env.loop, sys: sys, disk: disk, workers: &manualPool{}, handshakers: &manualPool{}, storage: storage{closer: &manualPool{}}, now: sys.clock,
		engine: engine{closers: &manualPool{}, tester: &manualPool{}}}
	w := newWorld(&script{}, newSimIdentity(t))
	for i := range uint64(2) {
		c := newConn(l.environment(), &simSocket{w: w}, endpoint{}, nil)
		c.transfer.pieces = []piece{{file: &simOpen{w: w, size: 1000}, n: 1000, last: true}}
		l.slots = append(l.slots, &slot{conn: c, token: i, heapIndex: -1})
		l.perform(l.slots[i], c.readPiece(true))
	}
	disk.busy = []uint64{0, 1}
	for range 30 {
		sys.clock = sys.clock.Add(time.Second)
		l.now = sys.clock
		l.expire()
	}
	const silent, again = "storage does not answer", "storage answers again"
	if n := strings.Count(log.String(), silent); n != 1 || strings.Contains(log.String(), again) {
		t.Errorf("while it hangs: %s", &log)
	}
	for _, j := range disk.jobs {
		l.slots[j.token].conn.jobErr = unix.EIO
		disk.done = append(disk.done, j.token)
	}
	l.onWake()
	if strings.Count(log.String(), silent) != 1 || strings.Count(log.String(), again) != 1 {
		t.Errorf("once it answers: %s", &log)
	}
	if st := l.storage; st.slow != 0 || st.hung != 0 || st.abandoned != 0 {
		t.Errorf("left: %+v", st)
	}
}
