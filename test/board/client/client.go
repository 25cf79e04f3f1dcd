package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/pattern"
)

// Options say what to download and how. Address and Path must be set.
type Options struct {
	Address string `json:"address"` // host:port
	Path    string `json:"path"`    // of the URL
	Plain   bool   `json:"plain,omitempty"`
	Roots   []byte `json:"roots,omitempty"` // PEM; required unless Plain
	Name    string `json:"name,omitempty"`  // expected in the certificate; default localhost

	Downloads int           `json:"downloads,omitempty"` // default 1
	Parallel  int           `json:"parallel,omitempty"`  // default 1
	KeepAlive bool          `json:"keep_alive,omitempty"`
	Timeout   time.Duration `json:"timeout,omitempty"` // of one download; default 1 minute

	// Offset and Length ask for a range if Length is not 0.
	Offset int64 `json:"offset,omitempty"`
	Length int64 `json:"length,omitempty"`
	// Content is what the file must hold; nil accepts anything.
	Content *pattern.Content `json:"content,omitempty"`

	// ReceiveBuffer is SO_RCVBUF in bytes, set before connecting; 0 leaves it.
	ReceiveBuffer int `json:"receive_buffer,omitempty"`
	// ReadSize and Pause slow the reading of the socket: at most so many bytes
	// each so often. 0 reads at full speed.
	ReadSize int           `json:"read_size,omitempty"`
	Pause    time.Duration `json:"pause,omitempty"`
	// Extra bytes are sent right after the request, for the server to leave
	// unread. They are not the beginning of a valid request.
	Extra int `json:"extra,omitempty"`
}

// A Result counts what came of the downloads: each is complete, truncated,
// corrupt or in Errors.
type Result struct {
	// Complete: status, headers and every byte as they should be.
	Complete int `json:"complete"`
	// Truncated: fewer bytes than Content-Length announced, however it ended.
	Truncated int `json:"truncated"`
	// Corrupt: a byte differs from Content, or more came than was announced.
	Corrupt int `json:"corrupt"`
	// Errors counts by kind those that came to no body: dial, handshake,
	// request, response, status, length, range, read, timeout.
	Errors map[string]int `json:"errors,omitempty"`
	// Ends counts how connections ended: close_notify, fin (over TLS: a FIN
	// without close_notify), reset, timeout, kept (the client closed it), other.
	Ends        map[string]int `json:"ends,omitempty"`
	Connections int            `json:"connections"` // that were established, TLS included
	Bytes       int64          `json:"bytes"`       // of bodies
	SHA256      string         `json:"sha256,omitempty"`
	Suite       string         `json:"suite,omitempty"` // of the latest TLS connection
	// Details are the first few failures in words.
	Details []string `json:"details,omitempty"`
}

// Failed is how many downloads were not complete.
func (r Result) Failed() int {
	n := r.Truncated + r.Corrupt
	for _, e := range r.Errors {
		n += e
	}
	return n
}

const maxDetails = 8

// Run does the downloads. Its error is of the options, or of a context that
// ended; what happens to a download is in the Result.
func Run(ctx context.Context, o Options) (Result, error) {
	o, roots, err := o.complete()
	if err != nil {
		return Result{}, err
	}
	c := &collector{r: Result{Errors: map[string]int{}, Ends: map[string]int{}}}
	jobs := make(chan int)
	var workers sync.WaitGroup
	for range o.Parallel {
		workers.Add(1)
		go func() {
			defer workers.Done()
			w := worker{o: o, roots: roots, c: c}
			defer w.hangUp("kept")
			for range jobs {
				w.download(ctx)
			}
		}()
	}
	for i := 0; i < o.Downloads && ctx.Err() == nil; i++ {
		select {
		case jobs <- i:
		case <-ctx.Done():
		}
	}
	close(jobs)
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return c.r, fmt.Errorf("client: %d of %d downloads done: %w", c.r.Complete+c.r.Failed(), o.Downloads, err)
	}
	return c.r, nil
}

// complete fills in defaults and checks.
func (o Options) complete() (Options, *x509.CertPool, error) {
	if o.Address == "" || o.Path == "" || o.Path[0] != '/' {
		return o, nil, fmt.Errorf("client: address %q and path %q: both are needed, the path with a slash first", o.Address, o.Path)
	}
	if o.Name == "" {
		o.Name = "localhost"
	}
	o.Downloads, o.Parallel = max(o.Downloads, 1), max(o.Parallel, 1)
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if (o.ReadSize > 0) != (o.Pause > 0) || o.ReadSize < 0 || o.Pause < 0 {
		return o, nil, errors.New("client: slow reading needs a size and a pause")
	}
	if o.Plain {
		return o, nil, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(o.Roots) {
		return o, nil, errors.New("client: no root certificate; give one in PEM, or ask for plain HTTP")
	}
	return o, roots, nil
}

// A collector gathers results of several workers.
type collector struct {
	mu sync.Mutex
	r  Result
}

func (c *collector) update(f func(*Result)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.r)
}

func (c *collector) detail(format string, args ...any) {
	c.update(func(r *Result) {
		if len(r.Details) < maxDetails {
			r.Details = append(r.Details, fmt.Sprintf(format, args...))
		}
	})
}

// dial connects, with the handshake if there is one. The kind names the step
// that failed.
func (w *worker) dial(ctx context.Context) (conn net.Conn, kind string, err error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		if w.o.ReceiveBuffer == 0 {
			return nil
		}
		var serr error
		err := raw.Control(func(fd uintptr) {
			serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, w.o.ReceiveBuffer)
		})
		return errors.Join(err, serr)
	}}
	tcp, err := d.DialContext(ctx, "tcp", w.o.Address)
	if err != nil {
		return nil, "dial", err
	}
	deadline, _ := ctx.Deadline()
	if err := tcp.SetDeadline(deadline); err != nil {
		tcp.Close()
		return nil, "dial", err
	}
	w.raw = &rawConn{Conn: tcp}
	var slow net.Conn = w.raw
	if w.o.ReadSize > 0 {
		slow = &slowConn{Conn: w.raw, size: w.o.ReadSize, pause: w.o.Pause, ctx: ctx}
	}
	if w.o.Plain {
		return slow, "", nil
	}
	t := tls.Client(slow, &tls.Config{
		RootCAs:    w.roots,
		ServerName: w.o.Name,
		MinVersion: tls.VersionTLS13,
		// Any server has it: one in FIPS mode has no plain X25519. And small
		// boards are quick at it.
		CurvePreferences: []tls.CurveID{tls.CurveP256},
	})
	if err := t.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, "handshake", err
	}
	suite := tls.CipherSuiteName(t.ConnectionState().CipherSuite)
	w.c.update(func(r *Result) { r.Suite = suite })
	return t, "", nil
}

// A rawConn remembers whether the server's FIN was read.
type rawConn struct {
	net.Conn
	fin bool
}

func (c *rawConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.fin = c.fin || err == io.EOF
	return n, err
}

// A slowConn reads a few bytes, at most so often.
type slowConn struct {
	net.Conn
	ctx   context.Context
	size  int
	pause time.Duration
	next  time.Time // not before
}

func (c *slowConn) Read(p []byte) (int, error) {
	if wait := time.Until(c.next); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return 0, c.ctx.Err()
		}
	}
	c.next = time.Now().Add(c.pause)
	return c.Conn.Read(p[:min(len(p), c.size)])
}
