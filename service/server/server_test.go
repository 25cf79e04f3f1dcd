package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/config"
	"uringhttpd/keygen"
)

// testFile is a source over a plain file.
type testFile struct {
	*os.File
	refs    atomic.Int32
	held    *atomic.Int32 // references to all files of the directory
	changed func() error
}

func (f *testFile) Fd() int { return int(f.File.Fd()) }
func (f *testFile) ReadNow(p []byte, off int64) (int, error) {
	n, err := unix.Preadv2(f.Fd(), [][]byte{p}, off, unix.RWF_NOWAIT)
	if err == unix.EOPNOTSUPP {
		err = unix.EAGAIN
	}
	return max(n, 0), err
}

func (f *testFile) Acquire() { f.refs.Add(1); f.held.Add(1) }

func (f *testFile) Release() {
	f.held.Add(-1)
	if f.refs.Add(-1) == 0 {
		f.Close()
	}
}

func (f *testFile) Deleted() bool {
	var s unix.Stat_t
	return unix.Fstat(f.Fd(), &s) != nil || s.Nlink == 0
}

func (f *testFile) Check(bool) (bool, error) {
	if f.changed != nil {
		return true, f.changed()
	}
	return true, nil
}

func (f *testFile) Local() bool { return true }

// testServer runs a server for one handler on a plain and a TLS listener.
type testServer struct {
	*Server
	plain, tls, metrics string // addresses
	pool                *x509.CertPool
	log                 *lockedBuffer
	ended               chan error
}

// environment surrounds a connection that a test makes beside those of the server.
func (ts *testServer) environment() environment {
	return environment{ts.gen, ts.proc, &loopState{}}
}

type lockedBuffer struct {
	mu  chan struct{}
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu <- struct{}{}
	defer func() { <-b.mu }()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu <- struct{}{}
	defer func() { <-b.mu }()
	return b.buf.String()
}

// startServer takes its clients for those of another machine, so that plain
// connections splice.
func startServer(t *testing.T, h http.Handler, change func(*Options)) *testServer {
	t.Helper()
	return startServerOn(t, h, change, func(_, _ netip.Addr) bool { return false })
}

func startServerOn(t *testing.T, h http.Handler, change func(*Options), sameHost func(a, b netip.Addr) bool) *testServer {
	t.Helper()
	made, err := keygen.Create(t.TempDir(), []string{"board"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(made.Certificate, made.Key)
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{pool: x509.NewCertPool(), log: &lockedBuffer{mu: make(chan struct{}, 1)}, ended: make(chan error, 1)}
	ts.pool.AddCert(pair.Leaf)
	opts := Options{
		Handler: h,
		TLS:     &tls.Config{Certificates: []tls.Certificate{pair}},
		Limits: config.Limits{Connections: 64, Buffer: 2 << 20,
			HeaderTimeout: 10 * time.Second, IdleTimeout: 20 * time.Second, StallTimeout: 20 * time.Second},
		Memory: 16 << 20,
		Log:    slog.New(slog.NewTextHandler(ts.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Access: true,
	}
	if change != nil {
		change(&opts)
	}
	var listeners []*Listener
	for _, withTLS := range []bool{false, true, false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln, err := Listen(l.(*net.TCPListener), withTLS)
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, ln)
	}
	ts.plain, ts.tls, ts.metrics = listeners[0].Addr, listeners[1].Addr, listeners[2].Addr
	listeners[2].Metrics = true
	if ts.Server, err = New(opts, listeners); err != nil {
		t.Fatal(err)
	}
	ts.proc.sameHost = sameHost
	ready := make(chan struct{})
	go func() { ts.ended <- ts.Run(func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ts.ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ts.Abort()
		select {
		case <-ts.ended:
		case <-time.After(20 * time.Second):
			t.Error("the server did not end")
		}
		if t.Failed() {
			t.Log(ts.log.String())
		}
	})
	return ts
}

// client returns an HTTP client for one of the listeners, and its base URL.
func (ts *testServer) client(t *testing.T, withTLS bool) (*http.Client, string) {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ts.pool, ServerName: "board"}, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr, Timeout: 60 * time.Second}
	if withTLS {
		return c, "https://" + ts.tls
	}
	return c, "http://" + ts.plain
}

// directory is a handler for the files of a temporary directory, by http.ServeContent.
type directory struct {
	dir     string
	held    atomic.Int32
	changed func() error
}

func (h *directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(filepath.Join(h.dir, filepath.Base(r.URL.Path)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	fi, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	s := &testFile{File: f, held: &h.held, changed: h.changed}
	s.Acquire()
	defer s.Release()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", fi.ModTime(), io.NewSectionReader(s, 0, fi.Size()))
}

// allReleased waits until no file is held. A goroutine closes them, and reports no end.
func (h *directory) allReleased(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); h.held.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d references to files are left", h.held.Load())
			return
		}
	}
}

func (h *directory) file(t *testing.T, name string, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	if err := os.WriteFile(filepath.Join(h.dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return data
}

// talk sends raw bytes to the plain listener and returns all that comes back.
func talk(t *testing.T, addr, say string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("after %q: %v", say[:min(len(say), 40)], err)
	}
	return string(got)
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// logLines collects the lines of a logger.
type logLines struct{ bytes.Buffer }

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// has reports whether one line has all of texts.
func (l *logLines) has(texts ...string) bool {
	for line := range strings.Lines(l.String()) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			return true
		}
	}
	return false
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

// dial opens a connection to one of the server's listeners, with a small window,
// so that a transfer of some MiB is not over before the test has looked at it.
func (ts *testServer) dial(t testing.TB, withTLS bool) net.Conn {
	t.Helper()
	addr := ts.plain
	if withTLS {
		addr = ts.tls
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if withTLS {
		return tls.Client(c, &tls.Config{RootCAs: ts.pool, ServerName: "board"})
	}
	return c
}

const getRequest = "GET / HTTP/1.1\r\nHost: board\r\n\r\n"

// hello is a handler with a short answer.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })

const shortGet = "GET / HTTP/1.1\r\nHost: b\r\n\r\n"

// request sends text on c, and returns the status of the answer.
func request(t *testing.T, c net.Conn, text string) int {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}
