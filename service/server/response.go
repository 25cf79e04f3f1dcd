package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxBody bounds what a handler may write from memory into one response. Files
// do not count: they never pass through memory as a whole.
const maxBody = 64 << 10

// retryAfter is what a client is told of storage that does not answer, in seconds.
const retryAfter = "30"

// errBodyTooLarge is what Write answers a handler that goes beyond maxBody.
var errBodyTooLarge = errors.New("server: a response from memory is limited to 64 KiB")

// A source is an open file that a response sends from.
type source interface {
	io.ReaderAt // waits for the disk, and is left to those who may
	// ReadNow is ReadAt of what is in memory: fewer bytes where not all is, and
	// EAGAIN where nothing is or the kernel cannot tell. Where the file's bytes are on
	// the disk may have to be read for that.
	ReadNow(p []byte, off int64) (int, error)
	Fd() int
	Name() string
	Acquire()
	Release()
	// Check returns an error if the file has other bytes than when it was opened. If decided is
	// false that cannot be told yet, but some milliseconds later. Unless wait is true it says what
	// the kernel knows without a wait for the file system.
	Check(wait bool) (decided bool, err error)
	// Deleted reports whether it has no name any more: to close it frees its bytes then.
	Deleted() bool
	// Local reports whether Check(false) knows of every change, and does not wait.
	Local() bool
}

// A segment is a piece of a response: memory, or n bytes of file from off.
type segment struct {
	mem  []byte
	file source
	off  int64
	n    int64
}

// A response is the http.ResponseWriter of one request. It does no I/O: it
// records what is to be sent. ReadFrom recognises a part of a file, as
// http.ServeContent hands it over, and keeps it as a part of a file.
type response struct {
	mayPostpone bool
	postponed   time.Duration // until the handler is to be called again; 0: it has answered
	head        bool          // the request was HEAD
	status      int           // 0 until WriteHeader
	header      http.Header
	sent        http.Header // a copy, as of WriteHeader
	segments    []segment
	length      int64 // bytes in segments
	inMemory    int
	err         error // of a Write: the response is not whole
}

func newResponse(head bool) *response { return &response{head: head, header: make(http.Header)} }

func (r *response) Header() http.Header { return r.header }

// WriteHeader sets the status, once. Informational responses are not sent.
func (r *response) WriteHeader(status int) {
	if r.status != 0 || status < 200 {
		return
	}
	if status > 999 {
		panic(fmt.Sprintf("server: status %d", status))
	}
	r.status = status
	r.sent = r.header.Clone()
}

// Postpone has the handler called again after d, from the beginning and with another
// ResponseWriter. It returns false if that was done maxPostponed times for the request.
func (r *response) Postpone(d time.Duration) bool {
	if !r.mayPostpone {
		return false
	}
	r.postponed = max(d, time.Millisecond)
	return true
}

// maxPostponed is how often a handler may be called again for one request.
const maxPostponed = 3

// A postponedError is serve's error for a handler that is to be called again.
type postponedError struct{ after time.Duration }

func (e *postponedError) Error() string { return "server: the handler is called again" }

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	switch {
	case !bodyAllowed(r.status):
		return 0, http.ErrBodyNotAllowed
	case r.inMemory+len(p) > maxBody:
		r.err = errBodyTooLarge
		return 0, r.err
	}
	r.inMemory += len(p)
	r.length += int64(len(p))
	if r.head || len(p) == 0 {
		return len(p), nil
	}
	if last := len(r.segments) - 1; last >= 0 && r.segments[last].file == nil {
		r.segments[last].mem = append(r.segments[last].mem, p...)
	} else {
		r.segments = append(r.segments, segment{mem: bytes.Clone(p)})
	}
	return len(p), nil
}

// ReadFrom takes src to its end: as a segment if it is a limited part of a
// source, else like Write.
func (r *response) ReadFrom(src io.Reader) (int64, error) {
	r.WriteHeader(http.StatusOK)
	if s, ok := filePart(src); ok && bodyAllowed(r.status) {
		r.length += s.n
		if !r.head && s.n > 0 {
			s.file.Acquire()
			r.segments = append(r.segments, s)
		}
		return s.n, nil
	}
	return io.Copy(struct{ io.Writer }{r}, src)
}

// filePart sees through the readers that io.CopyN and http.ServeContent put
// around a source, and moves them to the end of the part.
func filePart(src io.Reader) (segment, bool) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return segment{}, false
	}
	section, ok := limited.R.(*io.SectionReader)
	if !ok {
		return segment{}, false
	}
	outer, base, size := section.Outer()
	file, ok := outer.(source)
	if !ok {
		return segment{}, false
	}
	pos, err := section.Seek(0, io.SeekCurrent)
	if err != nil {
		return segment{}, false
	}
	n := max(min(limited.N, size-pos), 0)
	if _, err := section.Seek(n, io.SeekCurrent); err != nil {
		return segment{}, false
	}
	limited.N -= n
	return segment{file: file, off: base + pos, n: n}, true
}

// release gives back the files of segments.
func release(segments []segment) {
	for _, s := range segments {
		if s.file != nil {
			s.file.Release()
		}
	}
}

// serve runs h for req, with errWaits if it would have to wait for storage and wait is
// false, and turns a panic or a body that is not what the
// header says into an error; nothing has been sent by then.
func serve(h http.Handler, req *http.Request, wait, mayPostpone bool) (res *response, err error) {
	res = newResponse(req.Method == http.MethodHead)
	res.mayPostpone = mayPostpone
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("server: the handler for %s panicked: %v", req.URL.Path, p)
		}
		if err != nil {
			release(res.segments)
			res.segments = nil
		}
	}()
	if k, ok := h.(cold); ok && !wait {
		if !k.ServeCached(res, req) {
			return res, errWaits
		}
	} else {
		h.ServeHTTP(res, req)
	}
	if res.postponed > 0 {
		return res, &postponedError{res.postponed}
	}
	res.WriteHeader(http.StatusOK)
	if res.err != nil {
		return res, res.err
	}
	if s := res.sent.Get("Content-Length"); s != "" && bodyAllowed(res.status) {
		n, perr := strconv.ParseInt(s, 10, 64)
		// The body of a HEAD response need not be written.
		if perr != nil || n != res.length && !(res.head && res.length == 0) {
			return res, fmt.Errorf("server: the handler for %s announced %q bytes and wrote %d", req.URL.Path, s, res.length)
		}
	}
	return res, nil
}

// errorResponse is a short text for a person.
func errorResponse(head bool, status int, text string) *response {
	r := newResponse(head)
	r.header.Set("Content-Type", "text/plain; charset=utf-8")
	if status == http.StatusServiceUnavailable {
		r.header.Set("Retry-After", retryAfter)
	}
	r.WriteHeader(status)
	r.Write([]byte(text + "\n"))
	return r
}

// appendHead writes the status line and header fields in front of the body.
func (r *response) appendHead(b []byte, now time.Time, minor int, keepAlive bool) []byte {
	h := r.sent
	if bodyAllowed(r.status) {
		// A handler that writes nothing to HEAD has not said how long the
		// response to GET is: RFC 9110 section 8.6.
		if h.Get("Content-Length") == "" && !(r.head && r.length == 0) {
			h.Set("Content-Length", strconv.FormatInt(r.length, 10))
		}
	} else if r.status != http.StatusNotModified {
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
	text := http.StatusText(r.status)
	if text == "" {
		text = "status"
	}
	fmt.Fprintf(w, "HTTP/1.1 %03d %s\r\n", r.status, text)
	h.Write(w) // sorts the names, and cannot fail on a buffer
	w.WriteString("\r\n")
	return w.Bytes()
}

// bodyAllowed: RFC 9110 section 6.4.1.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
