package server

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"uringhttpd/service/files"
	"uringhttpd/service/http1"
)

// TestPostponed: handlers that wait keep no worker. A hundred of them hold up nobody, and each is
// called again in its time, so often and no more.
func TestPostponed(t *testing.T) {
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

// TestBeingWritten: a file that was written just now is waited for on no worker.
func TestBeingWritten(t *testing.T) {
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
