package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"uringhttpd/service/files"
	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

// comparedHandler is the handler of both servers: the real handler for files, and a handler
// that describes its request. Fields of the response identify the request for the
// comparison.
func comparedHandler(files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Method", r.Method[:min(len(r.Method), 16)])
		if r.ContentLength != 0 {
			w.Header().Set("X-Body", "announced") // only net/http shows it
		}
		if !strings.HasPrefix(r.URL.Path, "/echo") && r.URL.Path != "/probe" {
			files.ServeHTTP(w, r)
			return
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %q %q %q %q 1.%d\n", r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Host, min(r.ProtoMinor, 9))
		var names []string
		for name := range r.Header {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			fmt.Fprintf(&b, "%s: %q\n", name, r.Header[name])
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
		io.WriteString(w, b.String())
	})
}

// A reply is one response, as far as it is compared.
type reply struct {
	status     int
	refusal    bool // made by the server, not by the handler
	announced  bool // the request had a body, by net/http
	proto      string
	connection string
	fields     string
	body       string
}

func (r reply) String() string {
	if r.refusal {
		return fmt.Sprintf("%s %d, Connection %q, refused", r.proto, r.status, r.connection)
	}
	return fmt.Sprintf("%s %d, Connection %q, %s, body %q", r.proto, r.status, r.connection, r.fields, r.body)
}

// An outcome holds all responses of a connection before its end.
type outcome []reply

func (o outcome) String() string {
	var b strings.Builder
	for _, r := range o {
		fmt.Fprintf(&b, "\t%v\n", r)
	}
	return b.String()
}

// comparedFields are the fields that both servers send.
var comparedFields = []string{"Accept-Ranges", "Allow", "Content-Length", "Content-Range", "Content-Type", "Etag",
	"Last-Modified", "Location", "Retry-After", "Transfer-Encoding", "Vary", "X-Method"}

// readOutcome splits a stream into responses. The error reports a violation of the format.
func readOutcome(stream []byte) (outcome, error) {
	var out outcome
	r := bufio.NewReader(bytes.NewReader(stream))
	for {
		if _, err := r.Peek(1); err == io.EOF {
			return out, nil
		}
		// Only the handler's description identifies the request.
		var head []byte
		for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			line, err := r.ReadSlice('\n')
			if head = append(head, line...); err != nil {
				return out, fmt.Errorf("a response's head ends too early: %q", head)
			}
		}
		isHead := bytes.Contains(head, []byte("\r\nX-Method: HEAD\r\n"))
		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), r)), &http.Request{Method: method})
		if err != nil {
			return out, err
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		rep := reply{status: res.StatusCode, proto: res.Proto}
		rep.connection = strings.Join(fieldValues(string(head), "Connection"), ",") // http.ReadResponse takes close away
		rep.announced = res.Header.Get("X-Body") != ""
		if res.Header.Get("X-Method") == "" {
			rep.refusal = true
			if rest, _ := io.ReadAll(r); len(rest) > 4<<10 {
				return out, fmt.Errorf("a refusal is followed by %d bytes", len(rest))
			}
			return append(out, rep), nil
		}
		for _, name := range comparedFields {
			if values, ok := res.Header[name]; ok {
				rep.fields += fmt.Sprintf("%s: %q; ", name, values)
			}
		}
		if res.Header.Get("Date") == "" {
			rep.fields += "no Date; "
		}
		if isHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified {
			out = append(out, rep)
			continue
		}
		if res.ContentLength < 0 {
			return out, fmt.Errorf("a response without a length: %q", head)
		}
		body := make([]byte, res.ContentLength)
		if _, err := io.ReadFull(r, body); err != nil {
			return out, fmt.Errorf("a body ends too early: %v", err)
		}
		rep.body = string(body)
		if boundary, ok := strings.CutPrefix(res.Header.Get("Content-Type"), "multipart/byteranges; boundary="); ok {
			rep.body = strings.ReplaceAll(rep.body, boundary, "BOUNDARY")
			rep.fields = strings.ReplaceAll(rep.fields, boundary, "BOUNDARY")
		}
		out = append(out, rep)
	}
}

// An oracle is net/http's server. Its connections are memory: over TCP its
// answer to a request that it has not read to the end may be lost.
type oracle struct {
	conns  chan net.Conn
	server *http.Server
}

func startOracle(t testing.TB, h http.Handler) *oracle {
	o := &oracle{conns: make(chan net.Conn)}
	o.server = &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), DisableGeneralOptionsHandler: true}
	ended := make(chan error, 1)
	go func() { ended <- o.server.Serve(o) }()
	t.Cleanup(func() {
		close(o.conns)
		if err := <-ended; err != net.ErrClosed {
			t.Error(err)
		}
	})
	return o
}

// Accept, Close and Addr make it a net.Listener.
func (o *oracle) Accept() (net.Conn, error) {
	if c, ok := <-o.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (o *oracle) Close() error   { return nil }
func (o *oracle) Addr() net.Addr { return &net.TCPAddr{} }

// ask returns net/http's responses to a client that sends say and then closes
// its side.
func (o *oracle) ask(t testing.TB, say []byte) outcome {
	c := &memoryConn{in: bytes.NewReader(say), closed: make(chan struct{})}
	o.conns <- c
	<-c.closed
	out, err := readOutcome(c.out.Bytes())
	if err != nil {
		t.Fatalf("net/http: %v, to %q", err, say)
	}
	return out
}

// memoryConn is a connection whose client has sent everything.
type memoryConn struct {
	mu     sync.Mutex // net/http reads in the background
	in     *bytes.Reader
	out    bytes.Buffer
	once   sync.Once
	closed chan struct{}
}

func (c *memoryConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.Read(p)
}

func (c *memoryConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *memoryConn) Close() error                     { c.once.Do(func() { close(c.closed) }); return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// driveSettings are for drive.
func driveSettings(h http.Handler) environment {
	return environment{
		gen:  &generation{handler: h, headerTimeout: time.Hour, idleTimeout: time.Hour, stallTimeout: time.Hour, buffer: flow.MinLimit, log: slog.New(slog.DiscardHandler)},
		proc: &process{lifetime: context.Background()},
		loop: &loopState{},
	}
}

// drive runs a connection's states over the input of a client that then closes its
// side, received in pieces of the sizes that next returns, and returns the bytes
// sent. The socket accepts everything.
func drive(t testing.TB, s environment, say []byte, next func() int) []byte {
	sock := &scriptedSocket{}
	c := newConn(s, sock, endpoint{}, nil)
	c.place = placeHere // no splicing
	now := time.Now()
	var sent []byte
	for op, steps := c.start(now), 0; ; steps++ {
		ev := event{now: now}
		switch op.kind {
		case opRecv:
			ev.n = copy(op.buf[:min(len(op.buf), max(next(), 1))], say)
			say = say[ev.n:]
		case opJob, opDisk:
			op.job()
		case opSend:
			sent = append(sent, op.buf...)
			ev.n = len(op.buf)
		case opClose:
			if !sock.shutdown {
				t.Fatalf("the connection was reset after %q", sent)
			}
			return sent
		default:
			t.Fatalf("operation %d", op.kind)
		}
		if steps > 1<<20 {
			t.Fatal("the connection does not end")
		}
		op = c.step(ev)
	}
}

// heads splits a client's input at empty lines, as if it contained no
// bodies. Empty lines before a request are left out.
func heads(say []byte) []string {
	var list []string
	for {
		say = http1.TrimBlankLines(say)
		end := -1
		for _, mark := range []string{"\n\n", "\n\r\n"} {
			if i := bytes.Index(say, []byte(mark)); i >= 0 && (end < 0 || i+len(mark) < end) {
				end = i + len(mark)
			}
		}
		if end < 0 {
			return append(list, string(say))
		}
		list = append(list, string(say[:end]))
		say = say[end:]
	}
}

// fieldValues returns the values of a field in a head.
func fieldValues(head, name string) []string {
	var values []string
	for _, line := range strings.Split(head, "\n")[1:] {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.Trim(v, " \t\r"))
		}
	}
	return values
}

// fieldHas reports whether a field's list has the element.
func fieldHas(head, name, element string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(fieldValues(head, name), ","), ","), func(s string) bool {
		return strings.EqualFold(strings.Trim(s, " \t"), element)
	})
}

// filesBelow returns the handler for a directory.
func filesBelow(root *os.Root) http.Handler { return files.New(root, files.Options{}) }
