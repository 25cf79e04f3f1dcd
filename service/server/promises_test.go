package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uringhttpd/service/files"
	"uringhttpd/service/http1"
)

// dial opens a connection to one of the server's listeners, with a small window,
// so that a transfer of some MiB is not over before the test has looked at it.
func (ts *testServer) dial(t testing.TB, withTLS bool) net.Conn {
	t.Helper()
	addr := ts.plain
	if withTLS {
		addr = ts.tls
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if withTLS {
		return tls.Client(c, &tls.Config{RootCAs: ts.pool, ServerName: "board"})
	}
	return c
}

// TestFileChangesWhileSent: all or nothing, when the file is cut, overwritten in
// place, or replaced while it is sent.
func TestFileChangesWhileSent(t *testing.T) {
	const size = 24 << 20
	for _, change := range []struct {
		name string
		do   func(path string) error
	}{
		{"cut", func(path string) error { return os.Truncate(path, size/2) }},
		{"cut to nothing", func(path string) error { return os.Truncate(path, 0) }},
		{"overwritten", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{1}, 1<<20), size-2<<20)
			return errors.Join(err, f.Close())
		}},
		{"overwritten, its time set back", func(path string) error {
			fi, err := os.Stat(path)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{1}, 1<<20), size-2<<20)
			return errors.Join(err, f.Close(), os.Chtimes(path, fi.ModTime(), fi.ModTime()))
		}},
		{"replaced", func(path string) error {
			if err := os.WriteFile(path+".new", make([]byte, 100), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}},
	} {
		for _, withTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,tls=%v", change.name, withTLS), func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "firmware")
				want := bytes.Repeat([]byte("firmware"), size/8)
				if err := os.WriteFile(path, want, 0o644); err != nil {
					t.Fatal(err)
				}
				root, err := os.OpenRoot(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer root.Close()
				ts := startServer(t, files.New(root, files.Options{}), nil)
				c := ts.dial(t, withTLS)
				io.WriteString(c, "GET /firmware HTTP/1.1\r\nHost: board\r\nConnection: close\r\n\r\n")
				head := make([]byte, 1000)
				if _, err := io.ReadFull(c, head); err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
					t.Fatalf("%q, %v", head, err)
				}
				if err := change.do(path); err != nil {
					t.Fatal(err)
				}
				rest, err := io.ReadAll(c)
				all := append(head, rest...)
				body := all[bytes.Index(all, []byte("\r\n\r\n"))+4:]
				if err == nil && !bytes.Equal(body, want) {
					t.Errorf("a clean end after %d bytes, which are not the file", len(body))
				}
				if err == nil && len(body) == size {
					return // whole, and the bytes are right
				}
				if len(body) >= size {
					t.Errorf("%d bytes of body and %v: all were sent, and they are wrong", len(body), err)
				}
				if log := ts.log.String(); !strings.Contains(log, "firmware") {
					t.Errorf("the log does not name the file: %s", log)
				}
			})
		}
	}
}

// TestHeaderTimeout: half a head is answered with 408, half a handshake with a reset.
func TestHeaderTimeout(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.HeaderTimeout = 50 * time.Millisecond })
	if got := talk(t, ts.plain, "GET / HTTP/1.1\r\nHos"); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("half a head: %q", got)
	}
	if got := talk(t, ts.plain, ""); got != "" {
		t.Errorf("no head: %q", got)
	}
	c, err := net.Dial("tcp", ts.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte{22, 3, 1, 2})
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("half a handshake: %v", err)
	}
}

// TestSlowHead: a head that comes byte by byte does not get more time, and empty
// lines before it get none at all.
func TestSlowHead(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.HeaderTimeout = 100 * time.Millisecond })
	for _, say := range []string{"\r\n", "x"} {
		c := ts.dial(t, false)
		ended := make(chan struct{})
		go func() {
			io.Copy(io.Discard, c)
			close(ended)
		}()
		tick := time.NewTicker(20 * time.Millisecond)
		limit := time.After(20 * time.Second)
		for open := true; open; {
			select {
			case <-tick.C:
				io.WriteString(c, say) // until the server has had enough
			case <-ended:
				open = false
			case <-limit:
				t.Fatalf("a client that sends %q forever is kept", say)
			}
		}
		tick.Stop()
	}
}

// TestIdleTimeout: a kept connection ends in order when no request follows.
func TestIdleTimeout(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.IdleTimeout = 50 * time.Millisecond })
	for _, withTLS := range []bool{false, true} {
		c := ts.dial(t, withTLS)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: b\r\n\r\n\r\n") // RFC 9112 section 2.2: the blank line says nothing
		got, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 404 ")) || bytes.Count(got, []byte("HTTP/1.1 ")) != 1 {
			t.Errorf("tls %v: %q, %v", withTLS, got, err)
		}
	}
}

// TestConnectionLimit: above the limit a client waits while the others are busy, and is served
// in its turn.
func TestConnectionLimit(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) { o.Connections = 2 })
	first, second, third := ts.dial(t, false), ts.dial(t, false), ts.dial(t, false)
	const request = "GET / HTTP/1.1\r\nHost: b\r\n\r\n"
	buf := make([]byte, 1000)
	for _, c := range []net.Conn{first, second} {
		io.WriteString(c, request+"GET / HTTP/1.1\r\n") // and half of another
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(third, request)
	third.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := third.Read(buf); !os.IsTimeout(err) {
		t.Errorf("the third of two connections was served: %q, %v", buf[:n], err)
	}
	first.Close()
	third.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := third.Read(buf); err != nil {
		t.Errorf("after another has left: %v", err)
	}
}

// TestHandlerFailures: a handler that panics, says too much, or announces what
// it does not write, gives an error and not a broken response.
func TestHandlerFailures(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"panic", func(http.ResponseWriter, *http.Request) { panic("oops") }},
		{"short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "short")
		}},
		{"long", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1")
			io.WriteString(w, "long")
		}},
		{"too much", func(w http.ResponseWriter, _ *http.Request) {
			io.Copy(w, bytes.NewReader(make([]byte, 2*http1.MaxBody)))
		}},
		{"too much at last", func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				w.Write(make([]byte, http1.MaxBody/5))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ts := startServer(t, tc.h, nil)
			got := talk(t, ts.plain, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 500 ") {
				t.Errorf("got %q", got[:min(len(got), 200)])
			}
			if got := talk(t, ts.plain, "HEAD / HTTP/1.1\r\nHost: b\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\n") {
				t.Errorf("HEAD has a body: %q", got)
			}
		})
	}
}
