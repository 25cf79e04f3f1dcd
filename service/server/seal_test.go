package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"uringhttpd/service/files"
	"uringhttpd/service/http1"
)

var sealSeed = flag.Uint64("seal.seed", 0, "the seed of TestChangeAtAnyMoment's random moments; 0: by the clock")

// watched is a file that calls before each check.
type watched struct {
	*files.File
	before func()
}

func (f *watched) Check(wait bool) (bool, error) {
	f.before()
	return f.File.Check(wait)
}

// watching passes parts of files on as parts of watched files.
type watching struct {
	*http1.Response
	before func()
}

func (w *watching) ReadFrom(src io.Reader) (int64, error) {
	if s, ok := http1.FilePart(src); ok {
		file := &watched{s.File.(*files.File), w.before}
		src = &io.LimitedReader{R: io.NewSectionReader(file, s.Off, s.N), N: s.N}
	}
	return w.Response.ReadFrom(src)
}

// A change is one way to change a file, or its names.
type change struct {
	name string
	do   func(name string) error
	kept bool // the open file keeps its bytes: the download ends whole
}

// past is the modification time of files under test.
var past = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

// inPlace overwrites the bytes of a file from off, and leaves its size.
func inPlace(name string, off int64, with byte) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{with}, int(fi.Size()-off)), off)
	return errors.Join(err, f.Close())
}

var changes = []change{
	{"cut", func(name string) error {
		fi, err := os.Stat(name)
		if err != nil {
			return err
		}
		return os.Truncate(name, fi.Size()/2)
	}, false},
	{"cut to nothing", func(name string) error { return os.Truncate(name, 0) }, false},
	{"appended to", func(name string) error {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("more")
		return errors.Join(err, f.Close())
	}, false},
	{"overwritten in place", func(name string) error { return inPlace(name, 0, 'B') }, false},
	{"its end overwritten", func(name string) error {
		fi, err := os.Stat(name)
		if err != nil {
			return err
		}
		return inPlace(name, fi.Size()-1, 'B')
	}, false},
	{"overwritten, mtime set back", func(name string) error {
		return errors.Join(inPlace(name, 0, 'B'), os.Chtimes(name, past, past))
	}, false},
	{"cut and filled again, mtime set back", func(name string) error {
		fi, err := os.Stat(name)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(name, bytes.Repeat([]byte{'B'}, int(fi.Size())), 0o644), os.Chtimes(name, past, past))
	}, false},
	{"replaced", func(name string) error {
		fi, err := os.Stat(name)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(name+".new", bytes.Repeat([]byte{'B'}, int(fi.Size())), 0o644), os.Rename(name+".new", name))
	}, true},
	{"unlinked", os.Remove, true},
	{"linked", func(name string) error {
		return errors.Join(os.RemoveAll(name+".link"), os.Link(name, name+".link"))
	}, true},
}

// sealClient is a way to download.
type sealClient struct {
	name    string
	version uint16 // of TLS; 0: plain HTTP
}

var sealClients = []sealClient{{"plain", 0}, {"TLS 1.3", tls.VersionTLS13}, {"TLS 1.2", tls.VersionTLS12}}

// get starts a download of /f with a small window, so that the server cannot be
// far ahead of the client.
func (ts *testServer) get(t *testing.T, by sealClient) net.Conn {
	t.Helper()
	c := ts.dial(t, false)
	if by.version != 0 {
		c.Close()
		raw, err := net.Dial("tcp", ts.tls)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		raw.(*net.TCPConn).SetReadBuffer(16 << 10)
		raw.SetDeadline(time.Now().Add(30 * time.Second))
		c = tls.Client(raw, &tls.Config{RootCAs: ts.pool, ServerName: "board", MinVersion: by.version, MaxVersion: by.version})
	}
	if _, err := io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// body reads the rest of a download. The error is the reason if it is no success.
func body(got []byte, c net.Conn) ([]byte, error) {
	rest, err := io.ReadAll(c)
	got = append(got, rest...)
	if err != nil {
		return nil, err
	}
	out, err := readOutcome(bytes.Replace(got, []byte("\r\nDate"), []byte("\r\nX-Method: GET\r\nDate"), 1))
	switch {
	case err != nil:
		return nil, err
	case len(out) != 1 || out[0].status != http.StatusOK:
		return nil, fmt.Errorf("answered %v", out)
	}
	return []byte(out[0].body), nil
}

// TestChangeAtAnyMoment: a file that is changed at any moment of a download is never delivered as a
// success unless the client has the whole of one version. If only its names change, the download
// succeeds.
func TestChangeAtAnyMoment(t *testing.T) {
	t.Parallel() // with another long test
	seed := *sealSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("-seal.seed=%d", seed)
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	name := filepath.Join(dir, "f")
	inner := files.New(root, files.Options{})
	// opened is called when the handler has run, sealing before each check of the file.
	type hooks struct{ opened, sealing func() }
	var hooked atomic.Pointer[hooks]
	ts := startServerOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := hooked.Load()
		inner.ServeHTTP(&watching{w.(*http1.Response), h.sealing}, r)
		if http1.MayBlock(r) && !http1.Postponed(r) {
			h.opened()
		}
	}), func(o *Options) { o.Access = false }, sameHost)

	// If its client does not read, the huge file is too long to be sent completely before TCP's
	// buffers are full.
	const huge, large, small = 8 << 20, 1 << 20, 60 << 10
	for _, ch := range changes {
		for _, moment := range []string{"before the first byte", "in the middle", "before the seal", "at random"} {
			sizes := []int{large, small}
			if moment == "in the middle" {
				sizes = []int{huge} // a small one is read in one piece
			}
			for _, size := range sizes {
				for _, by := range sealClients {
					old := bytes.Repeat([]byte{'A'}, size)
					os.Remove(name + ".link") // of the file before
					if err := errors.Join(os.WriteFile(name, old, 0o644), os.Chtimes(name, past, past)); err != nil {
						t.Fatal(err)
					}
					changeNow := func() {
						if err := ch.do(name); err != nil {
							t.Error(err)
						}
					}
					h := &hooks{func() {}, func() {}}
					var got []byte
					at := 0 // of the bytes that the client has
					switch moment {
					case "before the first byte":
						h.opened = changeNow
					case "before the seal":
						h.sealing = sync.OnceFunc(changeNow) // a piece is examined, too, if it is copied
					case "in the middle":
						at = size / 4
					case "at random":
						at = r.IntN(size)
					}
					hooked.Store(h)
					c := ts.get(t, by)
					if at > 0 {
						got = make([]byte, at)
						if _, err := io.ReadFull(c, got); err != nil {
							t.Fatal(err)
						}
						changeNow()
					}
					content, err := body(got, c)
					c.Close()
					switch {
					case err == nil && !bytes.Equal(content, old):
						t.Errorf("%s %s, %d bytes, %s: success, with %d bytes of which %d are new", ch.name, moment, size, by.name, len(content), bytes.Count(content, []byte("B")))
					case ch.kept && err != nil:
						t.Errorf("%s %s, %d bytes, %s: %v", ch.name, moment, size, by.name, err)
					case !ch.kept && err == nil && moment != "at random":
						t.Errorf("%s %s, %d bytes, %s: success", ch.name, moment, size, by.name)
					}
				}
			}
		}
	}
}

// TestRewrittenFileIsOneVersion: of a file that is rewritten all the time while it is downloaded,
// each success is one single version.
func TestRewrittenFileIsOneVersion(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	name := filepath.Join(dir, "f")
	ts := startServerOn(t, files.New(root, files.Options{}), func(o *Options) { o.Access = false }, sameHost)
	version := byte('A')
	successes := 0
	for i := range 32 {
		size := []int{3 << 20, 40 << 10}[i%2]
		if err := os.WriteFile(name, bytes.Repeat([]byte{version}, size), 0o644); err != nil {
			t.Fatal(err)
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		var c net.Conn
		if i%4 < 2 { // it begins before the download, or in the middle
			c = ts.get(t, sealClients[i%3])
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			defer close(stopped)
			for writes := 0; ; writes++ {
				version = 'A' + (version-'A'+1)%26
				if err := inPlace(name, 0, version); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		got := []byte("H")
		if c == nil {
			c, got = ts.get(t, sealClients[i%3]), nil
		}
		content, err := body(got, c)
		c.Close()
		close(stop)
		<-stopped
		if err != nil {
			continue
		}
		successes++
		if len(content) != size || bytes.Count(content, content[:1]) != size {
			t.Errorf("iteration %d: a success of %d bytes that are not one version", i, len(content))
		}
	}
	// Nothing writes now.
	content, err := body(nil, ts.get(t, sealClients[1]))
	if err != nil || bytes.Count(content, []byte{version}) != len(content) {
		t.Errorf("at rest: %d bytes, %v", len(content), err)
	}
	t.Logf("%d of 32 were successes", successes)
}

// TestChangeEndsDownloadEarly: a download of a file that is overwritten fails long before its end.
func TestChangeEndsDownloadEarly(t *testing.T) {
	const size = 16 << 30
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ts := startServer(t, files.New(root, files.Options{}), nil)
	for _, by := range sealClients {
		name := filepath.Join(dir, "f")
		if err := errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, size)); err != nil {
			t.Fatal(err)
		}
		c := ts.get(t, by)
		if _, err := io.CopyN(io.Discard, c, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := oneByte(name, size/2); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, c)
		if n > size/2 || err == nil {
			t.Errorf("%s: %d bytes arrived after the change, %v", by.name, n, err)
		}
		c.Close()
	}
}

// oneByte overwrites one byte of a file.
func oneByte(name string, off int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{1}, off)
	return errors.Join(err, f.Close())
}

// TestChangedFileIsNoSuccess: a download is complete and right, or it fails, when the file is
// truncated, overwritten in place, or replaced while it is sent.
func TestChangedFileIsNoSuccess(t *testing.T) {
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

// TestFailedCheckResets: a file that fails its check resets the connection, and the client has a
// short body.
func TestFailedCheckResets(t *testing.T) {
	h := &directory{dir: t.TempDir(), changed: func() error { return fmt.Errorf("f has changed") }}
	ts := startServer(t, h, nil)
	for _, size := range []int{100, 1 << 20} {
		h.file(t, "f", size)
		for _, withTLS := range []bool{false, true} {
			c, base := ts.client(t, withTLS)
			res, err := c.Get(base + "/f")
			if err != nil {
				continue // reset before the head
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil {
				t.Errorf("size %d, tls %v: %d bytes and no error", size, withTLS, len(got))
			}
		}
	}
	if !strings.Contains(ts.log.String(), "f has changed") {
		t.Error("the log does not name the file")
	}
	h.allReleased(t)
}
