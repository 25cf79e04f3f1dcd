package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"uringhttpd/test/board/pattern"
)

// Options describe the downloads. Address and Path must be set.
type Options struct {
	Address string `json:"address"` // host:port
	Path    string `json:"path"`    // of the URL
	Plain   bool   `json:"plain,omitempty"`
	Roots   []byte `json:"roots,omitempty"` // PEM; required unless Plain
	Name    string `json:"name,omitempty"`  // expected in the certificate; default localhost

	Downloads int  `json:"downloads,omitempty"` // default 1
	Parallel  int  `json:"parallel,omitempty"`  // default 1
	KeepAlive bool `json:"keep_alive,omitempty"`
	// After names a file on the client's machine: connections are made, and no request is
	// sent before the file exists.
	After   string        `json:"after,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // of one download; default 1 minute

	// Offset and Length ask for a range if Length is not 0.
	Offset int64 `json:"offset,omitempty"`
	Length int64 `json:"length,omitempty"`
	// Content is the expected content of the file; nil accepts anything.
	Content *pattern.Content `json:"content,omitempty"`

	// ReceiveBuffer is SO_RCVBUF in bytes, set before connecting; 0 keeps the default.
	ReceiveBuffer int `json:"receive_buffer,omitempty"`
	// ReadSize and Pause slow the reading of the socket after the handshake: at most ReadSize
	// bytes per Pause. 0 reads at full speed.
	ReadSize int           `json:"read_size,omitempty"`
	Pause    time.Duration `json:"pause,omitempty"`
	// From is the local address; with "" the kernel chooses it.
	From string `json:"from,omitempty"`
	// Stay keeps each connection open after its only download, until the context ends.
	Stay bool `json:"stay,omitempty"`
	// Extra bytes are sent right after the request, for the server to leave unread. They
	// do not begin a valid request.
	Extra int `json:"extra,omitempty"`

	// TLS12 selects TLS 1.2 in place of 1.3. Suite is the suite that the handshake must agree
	// on; 0 accepts any. For TLS 1.3 it can only be enforced by a process that offers no other
	// suite, as the program download does.
	TLS12 bool   `json:"tls12,omitempty"`
	Suite uint16 `json:"suite,omitempty"`

	Also []Range `json:"also,omitempty"` // further ranges, in several parts with the first
	// Pipeline requests are written at once on each connection; Downloads is rounded up to a
	// multiple.
	Pipeline int `json:"pipeline,omitempty"`
	// Hold is how long the client does not read after the first byte of the response. With
	// Silent, Hold ends early when the server resets the connection.
	Hold   time.Duration `json:"hold,omitempty"`
	Silent bool          `json:"silent,omitempty"`
	// Then is the client's action right after the request.
	Then Then `json:"then,omitempty"`
	// Leave is how the client ends a download early, at a byte of the connection that Seed
	// selects.
	Leave Leave  `json:"leave,omitempty"`
	Seed  uint64 `json:"seed,omitempty"`
}

// A Range is a part of a file, of Length bytes at Offset.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// Then is an action of a client right after its request, besides reading.
type Then string

// Actions of a client after its request.
const (
	HalfClose        Then = "half-close"         // FIN
	CloseNotify      Then = "close_notify"       // the alert, without a FIN
	KeyUpdate        Then = "key-update"         // of the client's keys, before the request and after; TLS 1.3 with AES-GCM
	KeyUpdateRequest Then = "key-update-request" // also requests new keys of the server; the same
)

// Leave is how a client ends a download early.
type Leave string

// Ways to end a download early.
const (
	LeaveByReset Leave = "reset"
	LeaveByAlert Leave = "alert" // a fatal alert: bad_record_mac
)

// A Result counts the downloads by result: each is complete, truncated, corrupt, left or in
// Errors.
type Result struct {
	// Complete: status, headers and all bytes are as expected.
	Complete int `json:"complete"`
	// Truncated: fewer bytes than Content-Length announced, however the connection ended.
	Truncated int `json:"truncated"`
	// Silently: the truncated downloads that ended in order, by close_notify or a FIN.
	Silently int `json:"silently,omitempty"`
	// Corrupt: a byte differs from Content, or more bytes arrived than were announced.
	Corrupt int `json:"corrupt"`
	// Left: the client left as set by Leave.
	Left int `json:"left,omitempty"`
	// Errors counts downloads without a body, by kind: dial, handshake, request, response,
	// status, length, range, read, timeout.
	Errors map[string]int `json:"errors,omitempty"`
	// Ends counts connections by their end: close_notify, fin (over TLS: a FIN without
	// close_notify), reset, timeout, kept (the client closed it), left, other.
	Ends        map[string]int `json:"ends,omitempty"`
	Connections int            `json:"connections"` // established connections, including the TLS handshake
	Bytes       int64          `json:"bytes"`       // of bodies
	SHA256      string         `json:"sha256,omitempty"`
	Suite       string         `json:"suite,omitempty"` // of the latest TLS connection
	// Details are texts of the first few failures.
	Details []string `json:"details,omitempty"`
}

// Failed returns the number of downloads that failed.
func (r Result) Failed() int {
	n := r.Truncated + r.Corrupt // downloads that the client left have not failed
	for _, e := range r.Errors {
		n += e
	}
	return n
}

const maxDetails = 8

// Run makes the downloads. Its error is about the options, or about a context that ended;
// failures of downloads are in the Result.
func Run(ctx context.Context, o Options) (Result, error) {
	o, roots, err := o.complete()
	if err != nil {
		return Result{}, err
	}
	c := &collector{r: Result{Errors: map[string]int{}, Ends: map[string]int{}}}
	jobs := make(chan int)
	var workers sync.WaitGroup
	gate, done := openGate(ctx, o.After)
	defer done()
	for number := range o.Parallel {
		workers.Add(1)
		go func() {
			defer workers.Done()
			w := worker{o: o, roots: roots, c: c, number: number, gate: gate}
			defer w.hangUp("kept")
			for range jobs {
				for range o.Pipeline {
					w.download(ctx)
				}
				if o.Stay {
					<-ctx.Done()
					return
				}
			}
		}()
	}
	for i := 0; i < o.Downloads && ctx.Err() == nil; i += o.Pipeline {
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

// complete fills in defaults and checks the options.
func (o Options) complete() (Options, *x509.CertPool, error) {
	if o.Address == "" || o.Path == "" || o.Path[0] != '/' {
		return o, nil, fmt.Errorf("client: address %q and path %q: both are needed, the path with a slash first", o.Address, o.Path)
	}
	if o.Name == "" {
		o.Name = "localhost"
	}
	o.Downloads, o.Parallel = max(o.Downloads, 1), max(o.Parallel, 1)
	if o.Stay && (o.Downloads > o.Parallel || !o.KeepAlive) {
		return o, nil, errors.New("client: Stay needs KeepAlive, and a connection for each download")
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if (o.ReadSize > 0) != (o.Pause > 0) || o.ReadSize < 0 || o.Pause < 0 {
		return o, nil, errors.New("client: slow reading needs a size and a pause")
	}
	o.Pipeline = max(o.Pipeline, 1)
	if err := o.agree(); err != nil {
		return o, nil, err
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
