package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/files"
	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

// TestHandlerSeesTLSAndAddress: a handler sees the TLS state of its request, and the client's
// address.
func TestHandlerSeesTLSAndAddress(t *testing.T) {
	ts := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := "none"
		if r.TLS != nil {
			version = fmt.Sprintf("%x %t", r.TLS.Version, r.TLS.HandshakeComplete)
		}
		fmt.Fprintf(w, "TLS %s from %s.", version, r.RemoteAddr)
	}), nil)
	for _, withTLS := range []bool{false, true} {
		c := ts.dial(t, withTLS)
		fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
		var got strings.Builder
		buf := make([]byte, 4<<10)
		for {
			n, err := c.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				break
			}
		}
		want := "none"
		if withTLS {
			want = "304 true"
		}
		if text := fmt.Sprintf("TLS %s from %s.", want, c.LocalAddr()); !strings.HasSuffix(got.String(), text) {
			t.Errorf("TLS %t: %q, want %q at its end", withTLS, got.String(), text)
		}
	}
}

// TestEndlessBlankLinesTimeOut: a client that always sends more blank lines, and never a request,
// is not kept beyond header_timeout, and does not delay the end of the service.
func TestEndlessBlankLinesTimeOut(t *testing.T) {
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

// TestInputDoesNotExtendDeadline: bytes that arrive after the deadline do not extend it, even if no
// operation was late.
func TestInputDoesNotExtendDeadline(t *testing.T) {
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

// TestRequestReceivedInTimeIsServed: a request that TCP received in time is answered, even if the
// process was stopped until after the deadline.
func TestRequestReceivedInTimeIsServed(t *testing.T) {
	ts := startServer(t, hello, nil)
	for _, input := range []string{getRequest, ""} {
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
		sock.input = input
		now = now.Add(2 * ts.gen.idleTimeout)
		op = c.step(event{err: unix.ECANCELED, late: true, now: now})
		if answered := op.kind == opJob; answered != (input != "") || sock.shutdown == answered {
			t.Errorf("received %q: operation %d, FIN %v", input, op.kind, sock.shutdown)
		}
	}
}

// loggedNumber returns a number in a line of the log.
func loggedNumber(t *testing.T, line, key string) int {
	t.Helper()
	found := regexp.MustCompile(" " + key + `=(\d+)`).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("no %s: %s", key, line)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAbortByClientIsNoWarning: a client that leaves causes no warning, and the log line has the
// bytes that were sent, not those announced.
func TestAbortByClientIsNoWarning(t *testing.T) {
	const size = 32 << 20
	for _, withTLS := range []bool{false, true} {
		h := &directory{dir: t.TempDir()}
		h.file(t, "f", size)
		ts := startServer(t, h, nil)
		c := ts.dial(t, withTLS)
		io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\n\r\n")
		io.ReadFull(c, make([]byte, 1<<20))
		if tc, ok := c.(*tls.Conn); ok {
			c = tc.NetConn()
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		ts.awaitLog(t, "request aborted by the client")
		for line := range strings.Lines(ts.log.String()) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "pending_max") {
				t.Errorf("tls %v: %s", withTLS, line)
			}
			if !strings.Contains(line, "request aborted") {
				continue
			}
			if n := loggedNumber(t, line, "bytes"); n < 1<<19 || n > size/2 {
				t.Errorf("tls %v: %s", withTLS, line)
			}
			if strings.Contains(line, "ktls") {
				t.Errorf("tls %v: %s", withTLS, line)
			}
		}
	}
}

// TestPostponedHandlerKeepsNoWorker: a hundred postponed handlers delay no other request, and each
// is called again when its delay has passed, at most maxPostponed times.
func TestPostponedHandlerKeepsNoWorker(t *testing.T) {
	var calls atomic.Int32
	ts := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			http1.Postpone(r, time.Hour)
			return
		case "/always":
			calls.Add(1)
			if ok, _ := http1.Postpone(r, time.Microsecond); ok {
				return
			}
		}
		io.WriteString(w, "answered")
	}), func(o *Options) { o.Connections = 200 })
	for range 100 {
		c, err := net.Dial("tcp", ts.plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /long HTTP/1.1\r\nHost: b\r\n\r\n")
	}
	for _, path := range []string{"/", "/always"} {
		if got := request(t, ts.dial(t, false), "GET "+path+" HTTP/1.1\r\nHost: b\r\n\r\n"); got != http.StatusOK {
			t.Errorf("%s: status %d", path, got)
		}
	}
	if got := calls.Load(); got != maxPostponed+1 {
		t.Errorf("called %d times, want %d", got, maxPostponed+1)
	}
}

// TestNewFileIsPostponed: the handler of a file that was written just now is postponed, and
// occupies no worker.
func TestNewFileIsPostponed(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	inner := files.New(root, files.Options{})
	var postponed atomic.Int32
	ts := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		if http1.Postponed(r) {
			postponed.Add(1)
		}
	}), nil)
	for try := 0; postponed.Load() == 0; try++ {
		if try == 100 {
			t.Fatal("a file that was written just now is never waited for")
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("new"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := request(t, ts.dial(t, false), "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"); got != http.StatusOK {
			t.Fatalf("status %d", got)
		}
	}
}

// TestIncompleteHeadTimesOut: half a head is answered with 408, and half a handshake with a reset.
func TestIncompleteHeadTimesOut(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.HeaderTimeout = 50 * time.Millisecond })
	if got := talk(t, ts.plain, "GET / HTTP/1.1\r\nHos"); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("half a head: %q", got)
	}
	if got := talk(t, ts.plain, ""); got != "" {
		t.Errorf("no head: %q", got)
	}
	c, err := net.Dial("tcp", ts.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte{22, 3, 1, 2})
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("half a handshake: %v", err)
	}
}

// TestSlowHeadTimesOut: a head that arrives byte by byte does not get more time, and blank lines
// before it get none.
func TestSlowHeadTimesOut(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.HeaderTimeout = 100 * time.Millisecond })
	for _, say := range []string{"\r\n", "x"} {
		c := ts.dial(t, false)
		ended := make(chan struct{})
		go func() {
			io.Copy(io.Discard, c)
			close(ended)
		}()
		tick := time.NewTicker(20 * time.Millisecond)
		limit := time.After(20 * time.Second)
		for open := true; open; {
			select {
			case <-tick.C:
				io.WriteString(c, say) // until the server has had enough
			case <-ended:
				open = false
			case <-limit:
				t.Fatalf("a client that sends %q forever is kept", say)
			}
		}
		tick.Stop()
	}
}

// TestIdleConnectionEndsInOrder: a persistent connection ends in order when no request follows.
func TestIdleConnectionEndsInOrder(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.IdleTimeout = 50 * time.Millisecond })
	for _, withTLS := range []bool{false, true} {
		c := ts.dial(t, withTLS)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: b\r\n\r\n\r\n") // RFC 9112 section 2.2: a blank line before a request is ignored
		got, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 404 ")) || bytes.Count(got, []byte("HTTP/1.1 ")) != 1 {
			t.Errorf("tls %v: %q, %v", withTLS, got, err)
		}
	}
}

// TestIdleConnectionObeysStallTimeout: while a client keeps the connection and has not acknowledged
// the end of the last response, stall_timeout holds, and after that idle_timeout.
func TestIdleConnectionObeysStallTimeout(t *testing.T) {
	for _, tc := range []struct {
		name         string
		acknowledges time.Duration // when everything is; 0: never
		want         time.Duration // end of the connection
		orderly      bool
	}{{"stalled", 0, time.Minute, false}, {"slow", 50 * time.Second, time.Hour, true}} {
		env := driveSettings(hello)
		env.gen.stallTimeout, env.gen.idleTimeout = time.Minute, time.Hour
		sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1000}}
		c := newConn(env, sock, endpoint{}, nil)
		begin := time.Unix(1e9, 0)
		now := begin
		c.start(now)
		c.exchange.response, c.input.requests = http1.NewErrorResponse(false, 404, "none"), 1
		op := c.responseSent(now)
		looks := 0
		for ; op.kind == opRecv && c.state == stRequest; looks++ {
			if now = op.deadline; tc.acknowledges > 0 && now.Sub(begin) >= tc.acknowledges {
				sock.reading = ktls.Reading{Acked: 1000}
			}
			op = c.step(event{err: unix.ECANCELED, late: true, now: now})
		}
		if took := now.Sub(begin); took != tc.want || sock.shutdown != tc.orderly || looks > 62 {
			t.Errorf("%s: ended after %v and %d looks, in order %v, want %v, %v", tc.name, took, looks, sock.shutdown, tc.want, tc.orderly)
		}
	}
}

// TestStopDuringLookEndsIdleConnection: a stop, or a yield, is not lost if the receive of an idle
// connection was just cancelled for a look at the client's progress.
func TestStopDuringLookEndsIdleConnection(t *testing.T) {
	for _, acknowledged := range []bool{false, true} {
		for _, why := range []string{"stop", "yield"} {
			env := driveSettings(hello)
			env.gen.stallTimeout, env.gen.idleTimeout = time.Minute, time.Hour
			sock := &scriptedSocket{reading: ktls.Reading{Unacked: 1000}}
			c := newConn(env, sock, endpoint{}, nil)
			now := time.Unix(1e9, 0)
			c.start(now)
			c.exchange.response, c.input.requests = http1.NewErrorResponse(false, 404, "none"), 1
			op := c.responseSent(now)
			if acknowledged {
				sock.reading = ktls.Reading{Acked: 1000}
			}
			c.loop.stopping, c.yields = why == "stop", why == "yield"
			c.step(event{err: unix.ECANCELED, late: true, now: op.deadline})
			if !sock.shutdown {
				t.Errorf("%s, acknowledged %t: state %v, want the end of the connection", why, acknowledged, c.state)
			}
		}
	}
}

// TestFailedHandlerGives500: a handler that panics, writes too much, or announces more than it
// writes, causes an error response and not a broken response.
func TestFailedHandlerGives500(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"panic", func(http.ResponseWriter, *http.Request) { panic("oops") }},
		{"short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "short")
		}},
		{"long", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1")
			io.WriteString(w, "long")
		}},
		{"too much", func(w http.ResponseWriter, _ *http.Request) {
			io.Copy(w, bytes.NewReader(make([]byte, 2*http1.MaxBody)))
		}},
		{"too much in several writes", func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				w.Write(make([]byte, http1.MaxBody/5))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ts := startServer(t, tc.h, nil)
			got := talk(t, ts.plain, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 500 ") {
				t.Errorf("got %q", got[:min(len(got), 200)])
			}
			if got := talk(t, ts.plain, "HEAD / HTTP/1.1\r\nHost: b\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\n") {
				t.Errorf("HEAD has a body: %q", got)
			}
		})
	}
}

// FuzzRequest checks that the response to an input does not depend on the pieces in which it
// arrives, and that net/http's server gives the same response, except for the table of differences.
func FuzzRequest(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s), uint(3))
	}
	for seed := range uint64(100) {
		f.Add(generate(seed), uint(seed))
	}
	h := oldFiles(f)
	s := driveSettings(h)
	c := &compared{oracle: startOracle(f, h), seen: map[string]int{}, status: map[int]int{}}
	f.Fuzz(func(t *testing.T, input []byte, cut uint) {
		n := int(cut % uint(len(input)+1))
		stream := drive(t, s, input, func() int { return n })
		if whole := drive(t, s, input, func() int { return len(input) }); !alike(stream, whole) {
			t.Fatalf("in pieces of %d: %q, in one: %q", n, stream, whole)
		}
		if err := c.compare(t, input, stream); err != nil {
			t.Fatal(err)
		}
	})
}

// alike compares streams except for their times and boundaries.
func alike(a, b []byte) bool {
	x, errx := readOutcome(a)
	y, erry := readOutcome(b)
	return errx == nil && erry == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

// TestPipelinedRequestsAnsweredInOrder: a client that sends all requests, closes its side, and then
// reads slowly, gets all responses in order.
func TestPipelinedRequestsAnsweredInOrder(t *testing.T) {
	h := &directory{dir: t.TempDir()}
	const requests = 40
	var say strings.Builder
	var want [requests][]byte
	for i := range want {
		want[i] = h.file(t, fmt.Sprint(i), 1+i*i*100) // the last are spliced
		method := "GET"
		if i%7 == 3 {
			method, want[i] = "HEAD", nil
		}
		fmt.Fprintf(&say, "%s /%d HTTP/1.1\r\nHost: b\r\nX-Padding: %0*d\r\n\r\n", method, i, 10*i, 0)
	}
	ts := startServer(t, h, nil)
	for _, withTLS := range []bool{false, true} {
		c := ts.dial(t, withTLS)
		go func() {
			for rest := say.String(); len(rest) > 0; {
				n := min(len(rest), 777)
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					return // the reader will see
				}
				rest = rest[n:]
			}
			c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		r := &slowReader{c: c}
		for i, want := range want {
			var head []byte
			for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
				b := make([]byte, 1)
				if _, err := io.ReadFull(r, b); err != nil {
					t.Fatalf("tls %v: response %d: %v", withTLS, i, err)
				}
				head = append(head, b...)
			}
			body := make([]byte, len(want))
			if _, err := io.ReadFull(r, body); err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || !bytes.Equal(body, want) {
				t.Fatalf("tls %v: response %d is wrong: %q, %v", withTLS, i, head, err)
			}
		}
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
			t.Errorf("tls %v: after the last: %d bytes, %v", withTLS, len(rest), err)
		}
	}
	h.allReleased(t)
}

// slowReader reads few bytes at a time.
type slowReader struct{ c net.Conn }

func (r *slowReader) Read(p []byte) (int, error) { return r.c.Read(p[:min(len(p), 1000)]) }

// TestRefusalReachesSendingClient: a client that is refused while it still sends gets the response,
// and an end in order.
func TestRefusalReachesSendingClient(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, tc := range []struct{ start, status string }{
		{"GET /", "414"},
		{"GET / HTTP/1.1\r\nHost: b\r\nX: ", "431"},
		{"HEAD / HTTP/1.1\r\nHost: b\r\nX: ", "431"},
		{"GET / HTTP/1.1\r\nHost: b\r\nExpect: tea\r\n\r\n", "417"},
		{"PUT / HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\n", "404"},
	} {
		for _, withTLS := range []bool{false, true} {
			got := ts.exchange(t, withTLS, []byte(tc.start+strings.Repeat("x", 600<<10)))
			head, body, _ := strings.Cut(string(got), "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 "+tc.status+" ") || !strings.Contains(head, "\r\nConnection: close\r\n") ||
				!strings.Contains(head+"\r\n", fmt.Sprintf("\r\nContent-Length: %d\r\n", len(body))) && !strings.HasPrefix(tc.start, "HEAD") ||
				strings.HasPrefix(tc.start, "HEAD") && body != "" {
				t.Errorf("tls %v, after %q: %q", withTLS, tc.start, got)
			}
		}
	}
}

// TestMaximumRangesFit: 256 ranges at offsets beyond 4 GiB, written with the maximum of digits, in
// a file of the longest content type, fit into a request's head, and their part headers into the
// memory of a response.
func TestMaximumRangesFit(t *testing.T) {
	dir := t.TempDir()
	const first = 5 << 30
	f, err := os.Create(filepath.Join(dir, "x.deb"))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 256)
	for i := range want {
		want[i] = byte(i)
	}
	if _, err = f.WriteAt(want, first); err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var ranges []string
	for i := range int64(256) {
		ranges = append(ranges, fmt.Sprintf("%019d-%019d", first+i, first+i))
	}
	ts := startServer(t, filesBelow(root), nil)
	for _, withTLS := range []bool{false, true} {
		say := "GET /x.deb HTTP/1.1\r\nHost: b\r\nConnection: close\r\nRange: bytes=" + strings.Join(ranges, ",") + "\r\n\r\n"
		raw := ts.exchange(t, withTLS, []byte(say))
		if !bytes.Contains(raw, []byte("\r\nETag: \"")) {
			t.Errorf("TLS %v: no field is spelled ETag: %.500q", withTLS, raw)
		}
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, parameters, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
		if err != nil || got.StatusCode != http.StatusPartialContent {
			t.Fatalf("TLS %v: status %d, %v, %v", withTLS, got.StatusCode, got.Header, err)
		}
		parts := multipart.NewReader(got.Body, parameters["boundary"])
		for i := range want {
			p, err := parts.NextRawPart()
			if err != nil {
				t.Fatalf("TLS %v, part %d: %v", withTLS, i, err)
			}
			body, err := io.ReadAll(p)
			at := first + int64(i)
			wantRange := fmt.Sprintf("bytes %d-%d/%d", at, at, int64(first+256))
			if r := p.Header.Get("Content-Range"); err != nil || r != wantRange || !bytes.Equal(body, want[i:i+1]) {
				t.Fatalf("TLS %v, part %d: %s %v, want %s %v; %v", withTLS, i, r, body, wantRange, want[i:i+1], err)
			}
		}
		if _, err := parts.NextRawPart(); err != io.EOF {
			t.Errorf("TLS %v, behind the last part: %v", withTLS, err)
		}
	}
}

// TestRequestStatus: valid and invalid requests get the status that RFC 9110 and RFC 9112 require.
func TestRequestStatus(t *testing.T) {
	h := &directory{dir: t.TempDir()}
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
		{"longest line", "GET /" + strings.Repeat("x", http1.MaxLine-14) + " HTTP/1.1\r\nHost: b" + end, []string{"404 Not Found"}},
		{"long method", strings.Repeat("X", http1.MaxLine+1), []string{"501 Not Implemented"}},
		{"largest head", "GET /f HTTP/1.1\r\nHost: b\r\nX: " + strings.Repeat("x", http1.MaxHead-52) + end, []string{"200 OK"}},
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

// TestKeyLimitEndsConnection: a connection ends after the response with which its keys have made
// MaxRecords records.
func TestKeyLimitEndsConnection(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, transport := range []transport{kernel, user} {
		session, _ := handshaken(t, ts)
		c := newConn(driveSettings(hello), &scriptedSocket{}, endpoint{}, session)
		if c.transport = user; transport == kernel {
			c.startKernelTLS()
		}
		for range flow.MaxRecords - 2 {
			c.flow.CountRecords(flow.MaxRecord)
		}
		for records := flow.MaxRecords - 1; records <= flow.MaxRecords; records++ {
			if transport == kernel {
				c.flow.ChargePush(flow.MaxRecord, false)
			} else if _, err := c.encrypt(make([]byte, flow.MaxRecord)); err != nil {
				t.Fatal(err)
			}
			c.input.buf = []byte(getRequest)
			c.runHandler(len(c.input.buf), time.Time{}).job()
			c.handlerDone(event{})
			if want := records == flow.MaxRecords; c.exchange.close != want {
				t.Errorf("%v, after %d records: closes %v, want %v", transport, records, c.exchange.close, want)
			}
			c.dropAnswer()
		}
	}
}
