package http1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// MaxBody is how many bytes a handler may write from memory into one response. Parts of Files do
// not count, since they never are in memory as a whole.
const MaxBody = 64 << 10

// retryAfter is the value of Retry-After in a 503, in seconds.
const retryAfter = "30"

var (
	// ErrBodyTooLarge is returned by a Write beyond MaxBody.
	ErrBodyTooLarge = errors.New("http1: a response from memory is limited to 64 KiB")
	// ErrWouldBlock is the error for work that would have to wait for storage.
	ErrWouldBlock = errors.New("http1: the handler would wait for storage")
)

// A File is an open file that a response sends from. It is counted: Acquire and Release come in
// pairs, and the last Release closes it.
type File interface {
	io.ReaderAt // may wait for storage
	// ReadNow is ReadAt for bytes in the page cache. It returns fewer bytes if not all are
	// cached, and EAGAIN if none are or the kernel cannot tell. It may wait for the file system's
	// metadata.
	ReadNow(p []byte, off int64) (int, error)
	Fd() int
	Name() string
	Acquire()
	Release()
	// Check returns an error if the content has changed since the file was opened. decided is
	// false if that cannot be told yet, and can be some milliseconds later. With wait false it
	// does not wait for the file system, and uses the attributes that the kernel has cached.
	Check(wait bool) (decided bool, err error)
	// Deleted reports whether the file has no name any more: closing it then frees its blocks,
	// which may wait for storage.
	Deleted() bool
	// Local reports whether Check(false) sees every change and does not wait.
	Local() bool
}

// A Segment is a piece of a response body: memory, or a part of a file.
type Segment struct {
	Mem  []byte
	File File  // nil: the segment is Mem
	Off  int64 // bytes
	N    int64 // bytes
}

// A Response is the http.ResponseWriter of one request. Its method ReadFrom recognises a part of a
// File, as http.ServeContent hands it over, and records it as a Segment. A wrapper that hides
// ReadFrom makes the handler copy the file, which MaxBody limits.
type Response struct {
	Status   int       // 0 until WriteHeader
	Segments []Segment // body; empty for HEAD
	Length   int64     // bytes of the body, also for HEAD

	head       bool // the method is HEAD
	options    Options
	wouldBlock bool
	postponed  time.Duration // time until the next call; 0: the handler has answered
	header     http.Header
	sent       http.Header // header as it was when WriteHeader was called
	inMemory   int         // bytes of Length that do not come from Files
	err        error       // of a Write: the response is not complete
}

// Options are the rights of a handler in a call.
type Options struct {
	MayBlock    bool // wait for storage
	MayPostpone bool // be called again later
}

// NewResponse returns an empty response. head: the method is HEAD.
func NewResponse(head bool) *Response { return &Response{head: head, header: make(http.Header)} }

// NewErrorResponse returns a response with a line of text for a person.
func NewErrorResponse(head bool, status int, text string) *Response {
	r := NewResponse(head)
	r.header.Set("Content-Type", "text/plain; charset=utf-8")
	if status == http.StatusServiceUnavailable {
		r.header.Set("Retry-After", retryAfter)
	}
	r.WriteHeader(status)
	r.Write([]byte(text + "\n"))
	return r
}

// contextKey is the key of the Response in a request's context.
type contextKey struct{}

// of returns the Response of a request; nil if another server has made the request.
func of(req *http.Request) *Response {
	r, _ := req.Context().Value(contextKey{}).(*Response)
	return r
}

// MayBlock reports whether the handler of req may wait for storage. Under other servers it may.
func MayBlock(req *http.Request) bool {
	r := of(req)
	return r == nil || r.options.MayBlock
}

// WouldBlock discards the response to req, and has the handler called again where it may wait for
// storage. The handler returns after that. It is for handlers for which MayBlock is false.
func WouldBlock(req *http.Request) {
	if r := of(req); r != nil {
		r.wouldBlock = true
	}
}

// Postpone discards the response to req, and has the handler called again after d. It returns ok
// false, and does nothing, if req was postponed too often. supported is false under other servers.
func Postpone(req *http.Request, d time.Duration) (ok, supported bool) {
	r := of(req)
	if r == nil {
		return false, false
	}
	if r.options.MayPostpone {
		r.postponed = max(d, time.Millisecond)
	}
	return r.options.MayPostpone, true
}

// Postponed reports whether Postpone was called for req, and granted.
func Postponed(req *http.Request) bool {
	r := of(req)
	return r != nil && r.postponed > 0
}

// A PostponedError is Serve's error for a handler that is to be called again after After.
type PostponedError struct{ After time.Duration }

func (e *PostponedError) Error() string { return "http1: the handler is to be called again" }

// HEAD reports whether the request's method is HEAD, so that no body is sent.
func (r *Response) HEAD() bool { return r.head }

// Header returns the header that WriteHeader sends.
func (r *Response) Header() http.Header { return r.header }

// WriteHeader sets the status, once. Informational responses are not sent.
func (r *Response) WriteHeader(status int) {
	if r.Status != 0 || status < 200 {
		return
	}
	if status > 999 {
		panic(fmt.Sprintf("http1: status %d", status))
	}
	r.Status = status
	r.sent = r.header.Clone()
}

// Write appends a copy of p to the body. The error is ErrBodyTooLarge or http.ErrBodyNotAllowed.
func (r *Response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	switch {
	case !bodyAllowed(r.Status):
		return 0, http.ErrBodyNotAllowed
	case r.inMemory+len(p) > MaxBody:
		r.err = ErrBodyTooLarge
		return 0, r.err
	}
	r.inMemory += len(p)
	r.Length += int64(len(p))
	if r.head || len(p) == 0 {
		return len(p), nil
	}
	if last := len(r.Segments) - 1; last >= 0 && r.Segments[last].File == nil {
		r.Segments[last].Mem = append(r.Segments[last].Mem, p...)
	} else {
		r.Segments = append(r.Segments, Segment{Mem: bytes.Clone(p)})
	}
	return len(p), nil
}

// ReadFrom appends src to the body: as a Segment if it is a limited part of a File, else by Write.
func (r *Response) ReadFrom(src io.Reader) (int64, error) {
	r.WriteHeader(http.StatusOK)
	if s, ok := FilePart(src); ok && bodyAllowed(r.Status) {
		r.Length += s.N
		if !r.head && s.N > 0 {
			s.File.Acquire()
			r.Segments = append(r.Segments, s)
		}
		return s.N, nil
	}
	return io.Copy(struct{ io.Writer }{r}, src)
}

// FilePart returns the part of a File that src reads, as io.CopyN and http.ServeContent make it of
// an io.SectionReader, and moves src to its end.
func FilePart(src io.Reader) (Segment, bool) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return Segment{}, false
	}
	section, ok := limited.R.(*io.SectionReader)
	if !ok {
		return Segment{}, false
	}
	outer, base, size := section.Outer()
	file, ok := outer.(File)
	if !ok {
		return Segment{}, false
	}
	pos, err := section.Seek(0, io.SeekCurrent)
	if err != nil {
		return Segment{}, false
	}
	n := max(min(limited.N, size-pos), 0)
	if _, err := section.Seek(n, io.SeekCurrent); err != nil {
		return Segment{}, false
	}
	limited.N -= n
	return Segment{File: file, Off: base + pos, N: n}, true
}

// Release releases the files of segments.
func Release(segments []Segment) {
	for _, s := range segments {
		if s.File != nil {
			s.File.Release()
		}
	}
}

// Serve calls h for req, with the context ctx. The error is ErrWouldBlock or a *PostponedError if h is to be called again;
// any other says that h panicked, or wrote a body that does not match its header. With an error
// the response has no segments.
func Serve(ctx context.Context, h http.Handler, req *http.Request, o Options) (res *Response, err error) {
	res = NewResponse(req.Method == http.MethodHead)
	res.options = o
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("http1: the handler for %s panicked: %v", req.URL.Path, p)
		}
		if err != nil {
			Release(res.Segments)
			res.Segments = nil
		}
	}()
	h.ServeHTTP(res, req.WithContext(context.WithValue(ctx, contextKey{}, res)))
	switch {
	case res.wouldBlock && !o.MayBlock:
		return res, ErrWouldBlock
	case res.postponed > 0:
		return res, &PostponedError{res.postponed}
	}
	res.WriteHeader(http.StatusOK)
	if res.err != nil {
		return res, res.err
	}
	if s := res.sent.Get("Content-Length"); s != "" && bodyAllowed(res.Status) {
		n, perr := strconv.ParseInt(s, 10, 64)
		// The body of a response to HEAD need not be written.
		if perr != nil || n != res.Length && !(res.head && res.Length == 0) {
			return res, fmt.Errorf("http1: the handler for %s announced %q bytes and wrote %d", req.URL.Path, s, res.Length)
		}
	}
	return res, nil
}

// AppendHead appends the status line and the header fields to b. minor is the minor version of the
// request, 0 or 1.
func (r *Response) AppendHead(b []byte, now time.Time, minor int, keepAlive bool) []byte {
	h := r.sent
	if bodyAllowed(r.Status) {
		// A handler that writes nothing for HEAD has not said how long the
		// response to GET is: RFC 9110 section 8.6.
		if h.Get("Content-Length") == "" && !(r.head && r.Length == 0) {
			h.Set("Content-Length", strconv.FormatInt(r.Length, 10))
		}
	} else if r.Status != http.StatusNotModified {
		h.Del("Content-Length")
	}
	h.Del("Transfer-Encoding")
	h.Set("Server", "uringhttpd")
	h.Set("Date", now.UTC().Format(http.TimeFormat))
	switch {
	case !keepAlive:
		h.Set("Connection", "close")
	case minor == 0:
		h.Set("Connection", "keep-alive")
	default:
		h.Del("Connection")
	}
	w := bytes.NewBuffer(b)
	text := http.StatusText(r.Status)
	if text == "" {
		text = "status"
	}
	fmt.Fprintf(w, "HTTP/1.1 %03d %s\r\n", r.Status, text)
	h.Write(w) // sorts the names, and cannot fail on a buffer
	w.WriteString("\r\n")
	return w.Bytes()
}

// bodyAllowed reports whether a response with status has content: RFC 9110 section 6.4.1.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
