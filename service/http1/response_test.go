package http1

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestAppendHeadSetsFramingFields: Content-Length, Connection and Date depend on the status, the body
// and the version. Fields set after WriteHeader, and injected lines, are not sent.
func TestAppendHeadSetsFramingFields(t *testing.T) {
	now := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	for _, tc := range []struct {
		name      string
		status    int
		body      string
		set       string // Content-Length set by the handler
		minor     int
		keep      bool
		want, not []string
	}{
		{"200", 200, "abc", "", 1, true, []string{"HTTP/1.1 200 OK\r\n", "Content-Length: 3\r\n", "Date: Tue, 24 Nov 2026 01:02:03 GMT\r\n"}, []string{"Connection:"}},
		{"empty", 200, "", "", 1, true, []string{"Content-Length: 0\r\n"}, nil},
		{"close", 200, "", "", 1, false, []string{"Connection: close\r\n"}, nil},
		{"HTTP/1.0 with keep-alive", 200, "", "", 0, true, []string{"Connection: keep-alive\r\n"}, nil},
		{"204", 204, "", "", 1, true, []string{"HTTP/1.1 204 No Content\r\n"}, []string{"Content-Length"}},
		{"304", 304, "", "", 1, true, []string{"HTTP/1.1 304 Not Modified\r\n"}, []string{"Content-Length"}},
		{"304 with a length", 304, "", "7", 1, true, []string{"Content-Length: 7\r\n"}, nil},
		{"unknown status", 599, "", "", 1, true, []string{"HTTP/1.1 599 "}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewResponse(false)
			if tc.set != "" {
				r.Header().Set("Content-Length", tc.set)
			}
			r.Header().Set("Transfer-Encoding", "chunked")
			r.Header().Set("X", "a\r\nInjected: b")
			r.WriteHeader(tc.status)
			r.Header().Set("Late", "x")
			r.Write([]byte(tc.body))
			got := string(r.AppendHead(nil, now, tc.minor, tc.keep))
			for _, s := range tc.want {
				if !strings.Contains(got, s) {
					t.Errorf("%q lacks %q", got, s)
				}
			}
			for _, s := range append(tc.not, "Transfer-Encoding", "\nInjected", "Late") {
				if strings.Contains(got, s) {
					t.Errorf("%q has %q", got, s)
				}
			}
			if !strings.HasSuffix(got, "\r\n\r\n") || strings.Count(got, "\r\n\r\n") != 1 {
				t.Errorf("%q does not end once", got)
			}
		})
	}
}

// TestResponseBodyIsLimited: Write fails beyond MaxBody, and for a status without a body.
func TestResponseBodyIsLimited(t *testing.T) {
	r := NewResponse(false)
	if _, err := r.Write(make([]byte, MaxBody)); err != nil {
		t.Error(err)
	}
	if _, err := r.Write([]byte{0}); err != ErrBodyTooLarge {
		t.Errorf("above the limit: %v", err)
	}
	r = NewResponse(false)
	r.WriteHeader(http.StatusNotModified)
	if _, err := r.Write([]byte{0}); err != http.ErrBodyNotAllowed {
		t.Errorf("a body with 304: %v", err)
	}
}
