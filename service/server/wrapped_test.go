package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"uringhttpd/service/http1"
)

// wrappedWriter hides every method of a ResponseWriter but the three.
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
