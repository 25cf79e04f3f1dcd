package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/service/files"
	"uringhttpd/service/http1"

	"golang.org/x/sys/unix"
)

// oneAnswer is a cache that has the answer to each request.
type oneAnswer struct {
	body    []byte
	updates int
}

func (c *oneAnswer) Update()                             { c.updates++ }
func (c *oneAnswer) FD() int                             { return -1 }
func (c *oneAnswer) Prepare(string) func()               { return nil }
func (c *oneAnswer) Dropped(f []http1.File) []http1.File { return f }
func (c *oneAnswer) Close()                              {}
func (c *oneAnswer) Answer(h *http1.Head, _ time.Time, room []byte, ends bool) (http1.Answer, bool) {
	head := append(room, "HTTP/1.1 200 OK\r\n\r\n"...)
	return http1.Answer{Status: 200, Head: head, Memory: c.body, Length: int64(len(c.body))}, true
}

// answerOnce performs the steps of one request, and returns the number of bytes sent.
func answerOnce(c *conn, op operation, now time.Time) (next operation, sent int) {
	const request = "GET /file HTTP/1.1\r\nHost: board\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
	c.loop.answers.updated = false
	op = c.step(event{n: copy(op.buf, request), now: now})
	for op.kind == opSend {
		sent += len(op.buf)
		op = c.step(event{n: len(op.buf), now: now})
	}
	return op, sent
}

// TestCachedAnswerAllocatesNothing: a request that the cache answers costs no allocation, and no
// operation but one send and one receive, if the body is small.
func TestCachedAnswerAllocatesNothing(t *testing.T) {
	for _, size := range []int{0, 1 << 10, maxInline, maxInline + 1, 64 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			env := driveSettings(hello)
			cache := &oneAnswer{body: make([]byte, size)}
			env.gen.cache = cache
			c := newConn(env, &scriptedSocket{reading: ktls.Reading{}}, endpoint{}, nil)
			now := time.Unix(1e9, 0)
			op := c.start(now)
			sent := 0
			allocs := testing.AllocsPerRun(100, func() {
				if op, sent = answerOnce(c, op, now); op.kind != opRecv {
					t.Fatalf("operation %d after the response, want a receive", op.kind)
				}
			})
			if want := size + len("HTTP/1.1 200 OK\r\n\r\n"); allocs != 0 || sent != want || cache.updates < 100 {
				t.Errorf("%v allocations, %d bytes sent, want %d; %d updates of the cache", allocs, sent, want, cache.updates)
			}
		})
	}
}

// TestLateRequestSeesChanges: a request that is read from the socket during a turn of the loop, when
// its deadline has passed, may have been sent after a change that this turn's update does not cover.
func TestLateRequestSeesChanges(t *testing.T) {
	env := driveSettings(hello)
	cache := &oneAnswer{}
	env.gen.cache = cache
	c := newConn(env, &scriptedSocket{input: "GET /file HTTP/1.1\r\nHost: board\r\n\r\n"}, endpoint{}, nil)
	now := time.Unix(1e9, 0)
	op := c.start(now)
	c.loop.answers.updated = true // for another connection
	if op = c.step(event{late: true, err: unix.ECANCELED, now: op.deadline}); op.kind != opSend || cache.updates != 1 {
		t.Errorf("operation %d after %d updates of the cache, want a send after one", op.kind, cache.updates)
	}
}

// TestCutOffAnswerIsLogged: the log names the path of an answer from the cache that was cut off, and
// counts no bytes that were not sent, although requests are not logged.
func TestCutOffAnswerIsLogged(t *testing.T) {
	env := driveSettings(hello)
	env.gen.cache = &fileAnswer{}
	var lines logLines
	env.gen.log = lines.logger()
	c := newConn(env, &scriptedSocket{input: "GET /file HTTP/1.1\r\nHost: board\r\n\r\n"}, endpoint{}, nil)
	now := time.Unix(1e9, 0)
	op := c.start(now)
	if op = c.step(event{n: copy(op.buf, "GET /file HTTP/1.1\r\nHost: board\r\n\r\n"), now: now}); op.kind != opJob {
		t.Fatalf("operation %d, want the job that determines the place of the client", op.kind)
	}
	if len(c.loop.answers.rooms) != 1 {
		t.Errorf("%d buffers are free while a file is sent, want 1", len(c.loop.answers.rooms))
	}
	c.reset(causeSocket, "test")
	if !lines.has("response cut off", "path=/file", "bytes=0") {
		t.Errorf("logged: %s", lines.String())
	}
}

// TestNothingIsPreparedWhileClosesWait: while many files wait for their close, as on a disk that hangs,
// no further file is opened for the cache.
func TestNothingIsPreparedWhileClosesWait(t *testing.T) {
	e := newEngineLoop(t, 0)
	disk := &manualPool{}
	e.disk = disk
	e.shared.answers.job = func() {}
	e.storage.unused = make([]http1.File, maxUnused+1)
	if e.prepareAnswer(); len(disk.jobs) != 0 {
		t.Error("an answer is prepared")
	}
	e.storage.unused = e.storage.unused[1:]
	e.prepareAnswer()
	if e.prepareAnswer(); len(disk.jobs) != 1 {
		t.Errorf("%d answers are prepared, want 1", len(disk.jobs))
	}
}

// fileAnswer is a cache whose answers are a large file.
type fileAnswer struct{ oneAnswer }

func (c *fileAnswer) Answer(h *http1.Head, _ time.Time, room []byte, ends bool) (http1.Answer, bool) {
	f := &testFile{held: new(atomic.Int32)}
	f.Acquire()
	return http1.Answer{Path: "/file", Status: 200, Head: append(room, "HTTP/1.1 200 OK\r\n\r\n"...), File: f, N: 1 << 20, Length: 1 << 20}, true
}

func BenchmarkCachedAnswer(b *testing.B) {
	env := driveSettings(hello)
	env.gen.cache = &oneAnswer{body: make([]byte, 1<<10)}
	c := newConn(env, &scriptedSocket{}, endpoint{}, nil)
	now := time.Unix(1e9, 0)
	op := c.start(now)
	b.ReportAllocs()
	for b.Loop() {
		op, _ = answerOnce(c, op, now)
	}
}

// cacheBelow returns a cache of the files below a root.
func cacheBelow(t testing.TB, root *os.Root) *files.Cache {
	t.Helper()
	directory, err := root.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := files.NewCache(root, files.Options{Directory: directory}, files.CacheLimits{Entries: 100, Bytes: 1 << 20, Body: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cache.Close() // again, after the server's
		directory.Close()
	})
	return cache
}

// TestCacheChangesNoResponse compares the responses of a server with a cache and of one without, to
// the requests of TestDifferential.
func TestCacheChangesNoResponse(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"f": "0123456789", "empty": "", "dir/index.html": "<p>"} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	cache := &countedCache{Cache: cacheBelow(t, root)}
	without := startServer(t, filesBelow(root), func(o *Options) { o.Access = false })
	with := startServer(t, filesBelow(root), func(o *Options) { o.Access, o.Cache = false, cache })
	compare := func(request []byte) {
		say := append(request, probe...)
		want := without.exchange(t, false, say)
		for range 2 {
			if got := with.exchange(t, false, say); !alike(got, want) {
				t.Errorf("to %.300q with a cache: %q, without: %q", say, got, want)
			}
		}
	}
	for _, request := range hostile {
		compare([]byte(request))
	}
	for seed := range uint64(400) {
		compare(bytes.ReplaceAll(generate(seed), []byte("/echo"), []byte("/f")))
	}
	if n := cache.answers.Load(); n < 100 {
		t.Errorf("the cache answered %d requests, want 100 or more", n)
	}
}

// countedCache counts the answers of a cache.
type countedCache struct {
	http1.Cache
	answers atomic.Int64
}

func (c *countedCache) Answer(h *http1.Head, now time.Time, room []byte, ends bool) (http1.Answer, bool) {
	a, ok := c.Cache.Answer(h, now, room, ends)
	if ok {
		c.answers.Add(1)
	}
	return a, ok
}

// TestPublishedFileIsServedAtOnce: a request that is sent after a file was published in any way gets
// the new content, over a kept connection to a server whose cache has the old one.
func TestPublishedFileIsServedAtOnce(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	in := func(name string) string { return filepath.Join(dir, name) }
	handler, handled := files.New(root, files.Options{}), atomic.Int64{}
	ts := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handled.Add(1)
		handler.ServeHTTP(w, r)
	}), func(o *Options) { o.Cache = cacheBelow(t, root) })
	write := func(name, content string) error {
		return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644))
	}
	publish := []struct {
		name string
		do   func(content string, n int) error
	}{
		{"rename", func(content string, _ int) error {
			return errors.Join(write(in("new"), content), os.MkdirAll(in("current"), 0o755), os.Rename(in("new"), in("current/f")))
		}},
		{"write in place", func(content string, _ int) error { return write(in("current/f"), content) }},
		{"another directory", func(content string, n int) error {
			return errors.Join(write(in(fmt.Sprint("v", n))+"/f", content), os.Rename(in("current"), in(fmt.Sprint("old", n))), os.Rename(in(fmt.Sprint("v", n)), in("current")))
		}},
		{"a link to a directory", func(content string, n int) error {
			return errors.Join(write(in(fmt.Sprint("v", n))+"/f", content), os.Symlink(fmt.Sprint("v", n), in("link")),
				os.Rename(in("current"), in(fmt.Sprint("old", n))), os.Rename(in("link"), in("current")))
		}},
		{"remove and write", func(content string, _ int) error {
			return errors.Join(os.Remove(in("current/f")), write(in("current/f"), content))
		}},
	}
	type kept struct {
		*http.Client
		base string
	}
	var clients []kept
	for _, withTLS := range []bool{false, true} {
		client, base := ts.client(t, withTLS)
		clients = append(clients, kept{client, base})
	}
	requests := int64(0)
	for _, size := range []int{100, 100 << 10} {
		for n := range 12 * len(publish) {
			p := publish[n%len(publish)]
			content := strings.Repeat(fmt.Sprintf("%d by %s,", n, p.name), size/10)
			if err := p.do(content, size*1000+n); err != nil {
				t.Fatal(err)
			}
			for _, client := range clients {
				for range 4 {
					res, err := client.Get(client.base + "/current/f")
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(res.Body)
					res.Body.Close()
					if requests++; err != nil || string(body) != content {
						t.Fatalf("%s, %s: %v, %d bytes that begin with %.30q, want %.30q", p.name, client.base, err, len(body), body, content)
					}
				}
			}
		}
	}
	if n := handled.Load(); n > requests*3/4 {
		t.Errorf("a handler answered %d of %d requests, so the cache was hardly used", n, requests)
	}
}
