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

// MaxBody is the largest number of bytes that a handler may write from memory into one response.
// Parts of Files do not count, since they are never in memory as a whole.
const MaxBody = 64 << 10

// retryAfter is the value of Retry-After in a 503, in seconds.
const retryAfter = "30"

var (
	// ErrBodyTooLarge is the error of a Write beyond MaxBody.
	ErrBodyTooLarge = errors.New("http1: a response from memory is limited to 64 KiB")
	// ErrWouldBlock is the error of Serve if the handler would have to wait for storage.
	ErrWouldBlock = errors.New("http1: the handler would wait for storage")
)

// A File is an open file whose parts a response sends. It has a reference count: each Acquire needs
// a Release, and the last Release closes the file. Methods may be called from any goroutine.
type File interface {
	io.ReaderAt // may wait for storage
	// ReadNow is ReadAt for bytes in the page cache. It returns fewer bytes if not all are
	// cached, and EAGAIN if none are or the kernel cannot tell. It may wait for the file system's
	// metadata.
	ReadNow(p []byte, off int64) (int, error)
	// Fd returns the descriptor, which the File still owns.
	Fd() int
	// Name returns the path for log messages.
	Name() string
	// Acquire adds a reference.
	Acquire()
	// Release removes a reference.
	Release()
	// Check returns an error if the content has changed since the file was opened. decided is
	// false if this is not known yet; then the caller calls again some milliseconds later. If
	// mayBlock is false, Check does not wait for the file system, and uses the attributes that the kernel
	// has cached.
	Check(mayBlock bool) (decided bool, err error)
	// Deleted reports whether the file has no name any more. Closing it then frees its blocks,
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

// A Response is the http.ResponseWriter of one request, for one goroutine. Its method ReadFrom
// recognizes a part of a File, as http.ServeContent passes it, and records it as a Segment. A
// wrapper that hides ReadFrom makes the handler copy the file, and MaxBody limits the copy.
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
	err        error       // of a Write: the response is incomplete
}

// Options are the permissions of a handler during one call.
type Options struct {
	MayBlock    bool // wait for storage
	MayPostpone bool // be called again later
}

// NewResponse returns an empty response. head is true if the method is HEAD.
func NewResponse(head bool) *Response { return &Response{head: head, header: make(http.Header)} }

// NewErrorResponse returns a response whose body is one line of text. A 503 has Retry-After.
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

// MayBlock reports whether the handler of req may wait for storage; true under other servers.
func MayBlock(req *http.Request) bool {
	r := of(req)
	return r == nil || r.options.MayBlock
}

// WouldBlock discards the response to req. The server calls the handler again on a goroutine that may
// wait for storage. Call it if MayBlock is false and the handler would have to wait, and then return.
func WouldBlock(req *http.Request) {
	if r := of(req); r != nil {
		r.wouldBlock = true
	}
}

// Postpone discards the response to req; the server calls the handler again after d, at least 1 ms.
// ok is false if req was postponed too often; then Postpone does nothing. supported is false under
// other servers.
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

// Postponed reports whether Postpone was called for req with the result ok.
func Postponed(req *http.Request) bool {
	r := of(req)
	return r != nil && r.postponed > 0
}

// A PostponedError is the error of Serve if the handler must be called again after After.
type PostponedError struct{ After time.Duration }

func (e *PostponedError) Error() string { return "http1: the handler must be called again" }

// HEAD reports whether the method of the request is HEAD, so that no body is sent.
func (r *Response) HEAD() bool { return r.head }

// Header returns the header that WriteHeader sends.
func (r *Response) Header() http.Header { return r.header }

// WriteHeader sets the status and a copy of the header. Further calls, and informational statuses
// (1xx), have no effect. It panics for a status above 999.
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

// Write appends a copy of p to the body. The error is ErrBodyTooLarge or http.ErrBodyNotAllowed; p is
// then not appended.
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

// ReadFrom appends src to the body: as a Segment if FilePart recognizes src, else by Write.
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

// FilePart returns the part of a File that src reads, and moves src to its end. src must be an
// *io.LimitedReader of an *io.SectionReader of a File, as io.CopyN and http.ServeContent pass it;
// ok is false for any other reader.
func FilePart(src io.Reader) (part Segment, ok bool) {
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

// Release releases the File of each segment.
func Release(segments []Segment) {
	for _, s := range segments {
		if s.File != nil {
			s.File.Release()
		}
	}
}

// Serve calls h for req, with the context ctx. The error is ErrWouldBlock or a *PostponedError if h
// must be called again. Any other error means that h panicked, or wrote a body that is too large or
// does not match its Content-Length. After an error the response has no segments.
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

// AppendHead appends the status line, the header fields and the empty line to b. minor is the minor
// HTTP version of the request, 0 or 1. keepAlive is false if the connection is closed afterwards.
func (r *Response) AppendHead(b []byte, now time.Time, minor int, keepAlive bool) []byte {
	h := r.sent
	if bodyAllowed(r.Status) {
		// If a handler writes nothing for HEAD, the length of the response to GET is not
		// known: RFC 9110 section 8.6.
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
