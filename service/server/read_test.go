package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// TestPanickedHandlerReleasesFiles: the files of a handler that panics are released, once.
func TestPanickedHandlerReleasesFiles(t *testing.T) {
	w := newWorld(&script{}, newSimIdentity(t))
	f := &simOpen{w: w, size: 1000}
	h := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		f.Acquire()
		defer f.Release()
		io.CopyN(rw, io.NewSectionReader(f, 0, f.size), f.size)
		panic("oops")
	})
	res, err := http1.Serve(context.Background(), h, httptest.NewRequest("GET", "/", nil), http1.Options{MayBlock: true, MayPostpone: true})
	if err == nil {
		t.Error("no error")
	}
	http1.Release(res.Segments) // as the end of the loop does
	if f.refs != 0 {
		t.Errorf("%d references are left", f.refs)
	}
}

// TestUnreadableFileGives500: a small file that cannot be read is answered with an error, not with
// the beginning of a success.
func TestUnreadableFileGives500(t *testing.T) {
	disk := newHungDisk(t)
	disk.file(t, "f", 40_000)
	close(disk.answers)
	fails := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		disk.directory.ServeHTTP(&failingReader{w.(*http1.Response)}, r)
	})
	ts := startServer(t, fails, nil)
	for _, withTLS := range []bool{false, true} {
		got, err := io.ReadAll(ts.request(t, "/f", withTLS))
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 500 ")) {
			t.Errorf("tls %v: %q, %v", withTLS, got, err)
		}
	}
	ts.awaitLog(t, "input/output error")
	disk.allReleased(t)
}

// failingReader passes parts of files on as parts of files that cannot be read.
type failingReader struct{ *http1.Response }

func (w *failingReader) ReadFrom(src io.Reader) (int64, error) {
	if s, ok := http1.FilePart(src); ok {
		src = &io.LimitedReader{R: io.NewSectionReader(failingFile{s.File}, s.Off, s.N), N: s.N}
	}
	return w.Response.ReadFrom(src)
}

type failingFile struct{ http1.File }

func (failingFile) ReadNow([]byte, int64) (int, error) { return 0, unix.EAGAIN }

func (failingFile) ReadAt([]byte, int64) (int, error) { return 0, unix.EIO }

// wrappedWriter hides all methods of a ResponseWriter except its three.
type wrappedWriter struct{ http.ResponseWriter }

// wrap returns h behind n handlers that change the request's context and hide the ResponseWriter,
// as middleware does.
func wrap(h http.Handler, n int) http.Handler {
	for range n {
		inner := h
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			type key struct{}
			inner.ServeHTTP(&wrappedWriter{w}, r.WithContext(context.WithValue(r.Context(), key{}, n)))
		})
	}
	return h
}

// TestWrappedHandlerMayNotBlock: a handler behind three others learns that it may not wait for
// storage, and is called again where it may.
func TestWrappedHandlerMayNotBlock(t *testing.T) {
	var calls []bool // whether it was allowed to wait
	h := wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, http1.MayBlock(r))
		if !http1.MayBlock(r) {
			io.WriteString(w, "not to be sent")
			http1.WouldBlock(r)
			return
		}
		io.WriteString(w, "answered")
	}), 3)
	s := driveSettings(h)
	out := string(drive(t, s, []byte(getRequest), func() int { return 1 << 10 }))
	if len(calls) != 2 || calls[0] || !calls[1] {
		t.Errorf("called with MayBlock %v, want false, true", calls)
	}
	if !strings.HasPrefix(out, "HTTP/1.1 200 ") || !strings.HasSuffix(out, "\r\n\r\nanswered") {
		t.Errorf("got %q", out)
	}
}
