package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/keygen"
	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

// testFile is a source over a plain file.
type testFile struct {
	*os.File
	refs    atomic.Int32
	held    *atomic.Int32 // references to all files of the folder
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
		Handler:       h,
		TLS:           &tls.Config{Certificates: []tls.Certificate{pair}},
		Connections:   64,
		HeaderTimeout: 10 * time.Second, IdleTimeout: 20 * time.Second, StallTimeout: 20 * time.Second,
		Buffer: 2 << 20, Memory: 16 << 20,
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

// folder is a handler for the files of a temporary folder, by http.ServeContent.
type folder struct {
	dir     string
	held    atomic.Int32
	changed func() error
}

func (h *folder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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

// allReleased waits until no file is held. They are closed by a goroutine that tells of no end.
func (h *folder) allReleased(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); h.held.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d references to files are left", h.held.Load())
			return
		}
	}
}

func (h *folder) file(t *testing.T, name string, size int) []byte {
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

func TestDownloads(t *testing.T) {
	h := &folder{dir: t.TempDir()}
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

func TestRangeBeyond4GiB(t *testing.T) {
	h := &folder{dir: t.TempDir()}
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

func TestRequests(t *testing.T) {
	h := &folder{dir: t.TempDir()}
	h.file(t, "f", 10)
	ts := startServer(t, h, nil)
	const end = "\r\nConnection: close\r\n\r\n"
	for _, tc := range []struct {
		name, say string
		want      []string // status lines, in order
	}{
		{"plain", "GET /f HTTP/1.1\r\nHost: b" + end, []string{"200 OK"}},
		{"pipelined", "GET /f HTTP/1.1\r\nHost: b\r\n\r\nHEAD /f HTTP/1.1\r\nHost: b\r\n\r\nGET /g HTTP/1.1\r\nHost: b" + end, []string{"200 OK", "200 OK", "404 Not Found"}},
		{"blank lines first", "\r\n\r\nGET /f HTTP/1.1\r\nHost: b" + end, []string{"200 OK"}},
		{"HTTP/1.0", "GET /f HTTP/1.0\r\n\r\n", []string{"200 OK"}},
		{"HTTP/1.0 kept", "GET /f HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /f HTTP/1.0\r\n\r\n", []string{"200 OK", "200 OK"}},
		{"body is never a request", "POST /f HTTP/1.1\r\nHost: b\r\nContent-Length: 36\r\n\r\nGET /f HTTP/1.1\r\nHost: b\r\n\r\n", []string{"200 OK"}},
		{"chunked", "GET /f HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /f HTTP/1.1\r\nHost: b\r\n\r\n", []string{"200 OK"}},
		{"chunked by 1.0", "GET /f HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /f HTTP/1.1\r\nHost: b\r\n\r\n", []string{"200 OK"}},
		{"two lengths", "GET /f HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", []string{"400 Bad Request"}},
		{"no host", "GET /f HTTP/1.1\r\n\r\n", []string{"400 Bad Request"}},
		{"two hosts", "GET /f HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", []string{"400 Bad Request"}},
		{"bad host", "GET /f HTTP/1.1\r\nHost: a b\r\n\r\n", []string{"400 Bad Request"}},
		{"garbage", "\x16\x03\x01 nonsense\r\n\r\n", []string{"400 Bad Request"}},
		{"folded", "GET /f HTTP/1.1\r\nHost: b\r\nX: a\r\n b\r\n\r\n", []string{"400 Bad Request"}},
		{"space before colon", "GET /f HTTP/1.1\r\nHost : b\r\n\r\n", []string{"400 Bad Request"}},
		{"NUL", "GET /f HTTP/1.1\r\nHost: b\r\nX: a\x00b\r\n\r\n", []string{"400 Bad Request"}},
		{"version", "GET /f HTTP/2.0\r\nHost: b\r\n\r\n", []string{"505 HTTP Version Not Supported"}},
		{"two spaces", "GET  /f HTTP/1.1\r\nHost: b\r\n\r\n", []string{"400 Bad Request"}},
		{"large head", "GET /f HTTP/1.1\r\nHost: b\r\nX: " + strings.Repeat("x", http1.MaxHead) + "\r\n\r\n", []string{"431 Request Header Fields Too Large"}},
		{"many fields", "GET /f HTTP/1.1\r\nHost: b\r\n" + strings.Repeat("X: y\r\n", http1.MaxFields) + "\r\n", []string{"431 Request Header Fields Too Large"}},
		{"one range", "GET /f HTTP/1.1\r\nHost: b\r\nRange: bytes=3-4" + end, []string{"206 Partial Content"}},
		{"long line", "GET /" + strings.Repeat("x", http1.MaxLine) + " HTTP/1.1\r\nHost: b\r\n\r\n", []string{"414 Request URI Too Long"}},
		{"long line without an end", "GET /" + strings.Repeat("x", 2*http1.MaxLine), []string{"414 Request URI Too Long"}},
		{"line as long as may be", "GET /" + strings.Repeat("x", http1.MaxLine-14) + " HTTP/1.1\r\nHost: b" + end, []string{"404 Not Found"}},
		{"long method", strings.Repeat("X", http1.MaxLine+1), []string{"501 Not Implemented"}},
		{"head as large as may be", "GET /f HTTP/1.1\r\nHost: b\r\nX: " + strings.Repeat("x", http1.MaxHead-52) + end, []string{"200 OK"}},
		{"HTTP/0.9", "GET /f\r\n", []string{"400 Bad Request"}},
		{"HTTP/1.2", "GET /f HTTP/1.2\r\nHost: b\r\n\r\nGET /f HTTP/1.9\r\nHost: b\r\n\r\n", []string{"200 OK", "200 OK"}},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []string{"505 HTTP Version Not Supported"}},
		{"TLS", "\x16\x03\x01\x02", []string{"400 Bad Request"}},
		{"tunnel", "CONNECT b:443 HTTP/1.1\r\nHost: b\r\n\r\nGET /f HTTP/1.1\r\nHost: b\r\n\r\n", []string{"501 Not Implemented"}},
		{"absolute target", "GET http://c/f HTTP/1.1\r\nHost: b" + end, []string{"200 OK"}},
		{"absolute target, bad host", "GET http://c/f HTTP/1.1\r\nHost: b c" + end, []string{"400 Bad Request"}},
		{"target of another scheme", "GET ftp://c/f HTTP/1.1\r\nHost: c" + end, []string{"400 Bad Request"}},
		{"asterisk", "GET * HTTP/1.1\r\nHost: b" + end, []string{"400 Bad Request"}},
		{"expectation of the only kind", "GET /f HTTP/1.1\r\nHost: b\r\nExpect: 100-Continue" + end, []string{"200 OK"}},
		{"expectation of a body's", "PUT /f HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", []string{"200 OK"}},
		{"other expectation", "GET /f HTTP/1.1\r\nHost: b\r\nExpect: 100-continue, coffee" + end, []string{"417 Expectation Failed"}},
		{"length no number", "GET /f HTTP/1.1\r\nHost: b\r\nContent-Length: +1\r\n\r\n", []string{"400 Bad Request"}},
		{"length of no digits", "GET /f HTTP/1.1\r\nHost: b\r\nContent-Length:\r\n\r\n", []string{"400 Bad Request"}},
		{"length too large", "GET /f HTTP/1.1\r\nHost: b\r\nContent-Length: 9223372036854775808\r\n\r\n", []string{"400 Bad Request"}},
		{"length of nothing", "GET /f HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\nGET /f HTTP/1.1\r\nHost: b" + end, []string{"200 OK", "200 OK"}},
		{"chunked not last", "GET /f HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", []string{"400 Bad Request"}},
		{"chunked twice", "GET /f HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", []string{"400 Bad Request"}},
		{"coding unknown", "GET /f HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", []string{"501 Not Implemented"}},
		{"half a head", "GET /f HTTP/1.1\r\nHo", []string{"400 Bad Request"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := net.Dial("tcp", ts.plain)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(c, tc.say)
			c.(*net.TCPConn).CloseWrite()
			all, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range regexp.MustCompile(`HTTP/1\.1 (\d\d\d [^\r]*)`).FindAllSubmatch(all, -1) {
				got = append(got, string(m[1]))
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestPlainToTLS: a client that speaks HTTP to the TLS port gets no HTTP.
func TestPlainToTLS(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	if got := talk(t, ts.tls, "GET / HTTP/1.1\r\nHost: b\r\n\r\n"); strings.Contains(got, "HTTP") {
		t.Errorf("got %q", got)
	}
}

// TestUnreadInput: a client that has sent more than was read still gets all of
// what it asked for before the connection ends. Its window is small, and it does
// not read before the server is done: most is in the server's hands then.
func TestUnreadInput(t *testing.T) {
	h := &folder{dir: t.TempDir()}
	want := h.file(t, "f", flow.MinUnsent-(1<<10)) // what TCP takes though it cannot send it
	ts := startServer(t, h, nil)
	var d net.Dialer
	d.Control = func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		return errors.Join(cerr, err)
	}
	c, err := d.Dial("tcp", ts.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"+strings.Repeat("x", 40<<10))
	ts.awaitLog(t, "path=/f")
	talk(t, ts.plain, "GET /none HTTP/1.0\r\n\r\n") // the loop has gone on since
	got, err := io.ReadAll(c)
	if err != nil || !bytes.HasSuffix(got, want) {
		t.Errorf("%d bytes and %v, which do not end with the file's %d", len(got), err, len(want))
	}
}

// TestChangedFile: a file that is no longer the same at its end resets the
// connection, and the client has a short body.
func TestChangedFile(t *testing.T) {
	h := &folder{dir: t.TempDir(), changed: func() error { return fmt.Errorf("f has changed") }}
	ts := startServer(t, h, nil)
	for _, size := range []int{100, 1 << 20} {
		h.file(t, "f", size)
		for _, withTLS := range []bool{false, true} {
			c, base := ts.client(t, withTLS)
			res, err := c.Get(base + "/f")
			if err != nil {
				continue // reset before the head
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil {
				t.Errorf("size %d, tls %v: %d bytes and no error", size, withTLS, len(got))
			}
		}
	}
	if !strings.Contains(ts.log.String(), "f has changed") {
		t.Error("the log does not name the file")
	}
	h.allReleased(t)
}

// TestShutdown: a transfer in flight ends whole, an idle connection is closed,
// and nobody new is accepted.
func TestShutdown(t *testing.T) {
	h := &folder{dir: t.TempDir()}
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

// TestVanishedClients: what clients held is back when they are gone.
func TestVanishedClients(t *testing.T) {
	h := &folder{dir: t.TempDir()}
	h.file(t, "f", 32<<20)
	ts := startServer(t, h, func(o *Options) { o.StallTimeout = time.Second })
	before := openFiles(t)
	for i := range 20 {
		addr := ts.plain
		if i%2 == 1 {
			addr = ts.tls
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			tc := tls.Client(c, &tls.Config{RootCAs: ts.pool, ServerName: "board"})
			c.SetDeadline(time.Now().Add(20 * time.Second))
			if i%4 == 1 {
				tc.Handshake()
			}
			defer c.Close()
			io.WriteString(tc, "GET /f HTTP/1.1\r\nHost: b\r\n\r\n")
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			continue
		}
		io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\n\r\n")
		io.ReadFull(c, make([]byte, 1000))
		if i%4 == 0 {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		} else {
			defer c.Close() // stays, and never reads again: stall_timeout
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		now := openFiles(t)
		if h.held.Load() == 0 && strings.Count(ts.log.String(), "stall_timeout") >= 5 && now <= before+10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d references to files, %d descriptors, before %d", h.held.Load(), now, before)
		}
		time.Sleep(20 * time.Millisecond) // no event tells when a descriptor is closed
	}
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
