package files

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

var _ http1.Cache = (*Cache)(nil)

// A cached is a Cache under test. Files are settled at once, so that the tests do not wait; before
// a change they call tick.
type cached struct {
	*Cache
	t      testing.TB
	dir    string
	top    string       // parent of dir, on the same file system
	offset atomic.Int64 // added to the clock
	finish func()       // closes all
}

var someLimits = CacheLimits{Entries: 100, Bytes: 1 << 20, Body: 1000}

// newCached returns a cache for dir, until the test ends.
func newCached(t testing.TB, dir string, limits CacheLimits) *cached {
	t.Helper()
	k := openCached(t, dir, limits)
	t.Cleanup(k.finish)
	return k
}

// openCached returns a cache for dir, until finish.
func openCached(t testing.TB, dir string, limits CacheLimits) *cached {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	opened, err := root.Open(".")
	must(t, err)
	s := kernel()
	s.now = func() time.Time { return coarseTime().Add(time.Minute) }
	h := newHandler(root, Options{Listing: true, Directory: opened}, s)
	c, err := newCache(h, limits)
	must(t, err)
	k := &cached{Cache: c, t: t, dir: dir, top: filepath.Dir(dir)}
	c.clock = k.now
	k.finish = func() { // the kernel waits some 10 ms for the watches
		k.Close()
		opened.Close()
		root.Close()
	}
	return k
}

func (k *cached) now() time.Time { return time.Now().Add(time.Duration(k.offset.Load())) }

// tick returns when a change gets another ctime than all changes before.
func (k *cached) tick() {
	k.t.Helper()
	probe := filepath.Join(k.top, "probe-of-tick")
	must(k.t, os.WriteFile(probe, nil, 0o644))
	stat, err := identify(unix.AT_FDCWD, probe, 0)
	must(k.t, err)
	must(k.t, os.Remove(probe))
	for !coarseTime().After(stat.changed.time()) {
		time.Sleep(time.Millisecond) // lets other processes run
	}
}

func (k *cached) head(method, target string, header ...string) *http1.Head {
	k.t.Helper()
	text := method + " " + target + " HTTP/1.1\r\nHost: x\r\n"
	for i := 0; i < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\r\n"
	}
	return k.parse(text + "\r\n")
}

func (k *cached) parse(text string) *http1.Head {
	k.t.Helper()
	h := new(http1.Head)
	if bad := h.Parse([]byte(text)); bad != nil {
		k.t.Fatalf("%q: %v", text, bad)
	}
	return h
}

// pathOf returns the decoded path of a request.
func pathOf(h *http1.Head) string {
	path, err := url.PathUnescape(string(h.Path))
	if err != nil {
		panic(err) // Parse accepted it
	}
	return path
}

// release releases the files of dropped entries, as a server does.
func (k *cached) release() {
	for _, f := range k.Dropped(nil) {
		f.Release()
	}
}

// get returns the head and the body of an answer of the cache.
func (k *cached) get(h *http1.Head, now time.Time, close bool) (text string, ok bool) {
	k.t.Helper()
	a, ok := k.Answer(h, now, nil, close)
	k.release()
	if !ok {
		return "", false
	}
	body := a.Memory
	if a.Lease != nil {
		a.Lease.Release()
	}
	if a.File != nil {
		body = make([]byte, a.N)
		a.File.ReadAt(body, a.Off) // a change is visible in the text
		a.File.Release()
	}
	return string(a.Head) + string(body), true
}

// want returns the head and the body of the handler's response.
func (k *cached) want(h *http1.Head, now time.Time, close bool) (text string, status int) {
	k.t.Helper()
	res, err := http1.Serve(context.Background(), k.handler, h.Request(), http1.Options{MayBlock: true})
	must(k.t, err)
	defer http1.Release(res.Segments)
	b := res.AppendHead(nil, now, h.Minor, !close)
	for _, s := range res.Segments {
		part := s.Mem
		if s.File != nil {
			part = make([]byte, s.N)
			s.File.ReadAt(part, s.Off)
		}
		b = append(b, part...)
	}
	return string(b), res.Status
}

// prepare prepares a path, and reports whether the cache then answers.
func (k *cached) prepare(target string) bool {
	k.t.Helper()
	h := k.head("GET", target)
	if job := k.Prepare(pathOf(h)); job != nil {
		job()
	}
	k.Update()
	_, ok := k.get(h, k.now(), false)
	return ok
}

// mustPrepare prepares a path, also if that failed within the last second.
func (k *cached) mustPrepare(target string) {
	k.t.Helper()
	for range 3 {
		if k.prepare(target) {
			return
		}
		k.offset.Add(int64(2 * retry))
	}
	k.t.Fatalf("%s is not prepared", target)
}

// same fails the test if the cache answers unlike the handler. It reports whether it answers.
func (k *cached) same(h *http1.Head, close bool) bool {
	k.t.Helper()
	now := k.now()
	got, ok := k.get(h, now, close)
	if !ok {
		return false
	}
	if want, _ := k.want(h, now, close); got != want {
		k.t.Errorf("%s %s: the cache answers\n%s\nthe handler\n%s", h.Method, h.Target, got, want)
	}
	return true
}

// cacheTree makes a directory to serve in a new directory.
func cacheTree(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	for name, content := range map[string]string{
		"a.txt": alphabet, "empty.bin": "", "big.bin": strings.Repeat("0123456789", 1000), "dir/sub/f.json": `{"a":1}`,
		"page/index.html": "<p>page", "a b%+é": "odd", "other/x": "x", "swap/f": "swap",
	} {
		name = filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(content), 0o644))
		must(t, os.Chtimes(name, time.Time{}, time.Unix(1_700_000_000, 5)))
	}
	must(t, os.Symlink("dir/sub", filepath.Join(dir, "link")))
	must(t, os.Symlink("link/f.json", filepath.Join(dir, "chain.txt")))
	must(t, os.Symlink("../a.txt", filepath.Join(dir, "dir", "up")))
	must(t, os.Symlink(filepath.Join(dir, "a.txt"), filepath.Join(dir, "absolute")))
	return dir
}

// targets of cacheTree that a cache prepares.
var cacheTargets = []string{"/a.txt", "/empty.bin", "/big.bin", "/dir/sub/f.json", "/page/", "/page/index.html", "/a%20b%25+%c3%A9",
	"/link/f.json", "/chain.txt", "/a.txt?x=/y", "/dir%2fsub/f.json"}

// TestCacheAnswersLikeTheHandler compares the answers to requests of each kind, byte for byte. All
// statuses that the cache can give occur, and it gives no others.
func TestCacheAnswersLikeTheHandler(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	for _, target := range cacheTargets {
		k.mustPrepare(target)
	}
	full, _ := k.want(k.head("HEAD", "/a.txt"), k.now(), false)
	_, tag, _ := strings.Cut(full, "\r\nETag: ")
	tag, _, _ = strings.Cut(tag, "\r\n")
	const same, before, after = "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	values := map[string][]string{
		"If-None-Match":       {tag, "W/" + tag, `"x", ` + tag, "*", `"x"`, "", "x"},
		"If-Match":            {tag, "*", `"x"`, "W/" + tag, `"a,b",` + tag},
		"If-Modified-Since":   {same, before, after, "yesterday", "", "Tuesday, 14-Nov-23 22:13:20 GMT", "Tue Nov 14 22:13:20 2023"},
		"If-Unmodified-Since": {same, before, after, "yesterday"},
		"If-Range":            {tag, `"x"`, "W/" + tag, same, before, after, ""},
		"Range": {"bytes=0-0", "bytes=-1", "bytes=3-", "bytes=0-99999999999999999999", "Bytes=2-5", "bytes=1-2,4-5", "bytes=9999999-",
			"bytes=2-1", "items=0-1", "", "bytes=0-1,", "bytes=5-5,99999999-", "bytes=-99999", "bytes=0-,0-0"},
		"Expect":            {"100-continue"},
		"Content-Length":    {"0", "5"},
		"Connection":        {"close", "keep-alive"},
		"Accept":            {"*/*"},
		"Transfer-Encoding": {"chunked"},
		"Cache-Control":     {"no-cache"},
	}
	names := []string{"If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range", "Expect", "Content-Length",
		"Connection", "Accept", "Transfer-Encoding", "Cache-Control"}
	targets := append([]string{"/", "/dir", "/dir/", "/none", "//a.txt", "/./a.txt", "/dir/../a.txt", "/a.txt/", "http://x/a.txt", "/dir/up", "/%5c",
		"/absolute"}, cacheTargets...)
	statuses := map[int]int{}
	for i := range 20000 {
		method := []string{"GET", "GET", "GET", "HEAD", "OPTIONS", "POST"}[random.IntN(6)]
		target := targets[random.IntN(len(targets))]
		if random.IntN(2) == 0 {
			target = "/a.txt"
		}
		text := fmt.Sprintf("%s %s HTTP/1.%d\r\nHost: x\r\n", method, target, random.IntN(2))
		for range random.IntN(4) {
			name := names[random.IntN(len(names))]
			if random.IntN(3) > 0 {
				name = names[random.IntN(6)]
			}
			value := values[name][random.IntN(len(values[name]))]
			if random.IntN(5) == 0 {
				name = strings.ToUpper(name)
			}
			text += name + ": " + value + "\r\n"
		}
		h := new(http1.Head)
		if h.Parse([]byte(text+"\r\n")) != nil {
			continue
		}
		if i%50 == 0 {
			k.Update()
			for _, target := range cacheTargets { // entries in memory expire
				k.mustPrepare(target)
			}
		}
		close := random.IntN(2) == 0
		now := k.now()
		got, ok := k.get(h, now, close)
		want, status := k.want(h, now, close)
		switch {
		case ok && got != want:
			t.Fatalf("seed %d: the answer to\n%s\nis\n%s\nwant\n%s", seed, text, got, want)
		case ok:
			statuses[status]++
		}
	}
	for status := range statuses {
		if status != 200 && status != 206 && status != 304 {
			t.Errorf("status %d", status)
		}
	}
	if statuses[200] < 100 || statuses[206] < 100 || statuses[304] < 100 {
		t.Errorf("answers by status: %v", statuses)
	}
}

// TestCacheLeavesTheRestToTheHandler: requests that the cache must answer, and those that it must not.
func TestCacheLeavesTheRestToTheHandler(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/a.txt")
	for _, test := range []struct {
		text string
		want bool
	}{
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\n", true},
		{"GET /a.txt HTTP/1.0\r\n", true},
		{"HEAD /%61.t%78t?q HTTP/1.1\r\nHost: x\r\n", true},
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n", true},
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1,3-4\r\n", false},
		{"HEAD /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1,3-4\r\n", true}, // ignored
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nRange: bytes=0-1\r\n", false},
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=99-\r\n", false},
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nIf-Match: \"x\"\r\n", false},
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n", false},
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n", false},
		{"GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n", false},
		{"POST /a.txt HTTP/1.1\r\nHost: x\r\n", false},
		{"GET http://x/a.txt HTTP/1.1\r\nHost: x\r\n", false},
		{"GET //a.txt HTTP/1.1\r\nHost: x\r\n", false},
	} {
		if _, ok := k.get(k.parse(test.text+"\r\n"), k.now(), false); ok != test.want {
			t.Errorf("%q: answered %v, want %v", test.text, ok, test.want)
		}
	}
	for _, target := range []string{"/dir", "/dir/", "/none", "/dir/up", "/absolute", "//a.txt", "/a.txt/", "/%5c", "/%01"} {
		k.offset.Add(int64(2 * retry))
		if k.prepare(target) {
			t.Errorf("%s is prepared", target)
		}
	}
}

// TestHeadIsAppended: the head begins after the bytes that room has, and uses its capacity.
func TestHeadIsAppended(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/a.txt")
	room := make([]byte, 3, 1000)
	a, ok := k.Answer(k.head("GET", "/a.txt"), k.now(), room, false)
	if !ok || !bytes.HasPrefix(a.Head, []byte("HTTP/1.1 200 OK\r\n")) || &room[:4][3] != &a.Head[0] || string(a.Memory) != alphabet || a.Length != 26 {
		t.Errorf("%v, %q", ok, a.Head)
	}
	if a, ok = k.Answer(k.head("HEAD", "/a.txt"), k.now(), nil, false); !ok || a.Length != 26 || a.Memory != nil || a.File != nil {
		t.Errorf("HEAD: %v, %+v", ok, a)
	}
}

// cacheRequests are the requests whose answers must not need memory, by name.
func cacheRequests(k *cached) map[string]*http1.Head {
	full, _ := k.want(k.head("HEAD", "/a.txt"), k.now(), false)
	_, tag, _ := strings.Cut(full, "\r\nETag: ")
	tag, _, _ = strings.Cut(tag, "\r\n")
	const date = "Tue, 14 Nov 2023 22:13:20 GMT"
	return map[string]*http1.Head{
		"GET":               k.head("GET", "/a.txt", "Accept", "*/*", "User-Agent", "x"),
		"file":              k.head("GET", "/big.bin"),
		"escaped":           k.head("GET", "/a%2Etxt"),
		"HEAD":              k.head("HEAD", "/a.txt"),
		"not modified":      k.head("GET", "/a.txt", "If-None-Match", tag),
		"not modified date": k.head("GET", "/a.txt", "If-Modified-Since", date),
		"range":             k.head("GET", "/a.txt", "Range", "bytes=2-5"),
		"resumed":           k.head("GET", "/big.bin", "Range", "bytes=2-", "If-Range", date),
		"match":             k.head("GET", "/a.txt", "If-Match", `"x", `+tag, "If-Unmodified-Since", date),
	}
}

// TestAnswerAllocatesNothing: an answer needs no memory, also after an Update.
func TestAnswerAllocatesNothing(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	for name, h := range cacheRequests(k) {
		k.mustPrepare(string(h.Path))
		room, now := make([]byte, 0, 1000), k.now()
		hit, later := true, time.Duration(0)
		if n := testing.AllocsPerRun(100, func() {
			k.Update()
			a, ok := k.Answer(h, now, room, false)
			if hit = hit && ok; a.File != nil {
				a.File.Release()
			}
			// The second changes.
			later = 1 - later
			now = k.now().Truncate(time.Second).Add(later * time.Second)
		}); n != 0 || !hit {
			t.Errorf("%s: %v allocations, answered %v", name, n, hit)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, name := range []string{"GET", "file", "HEAD", "not modified", "range"} {
		for _, each := range []string{"", " after Update"} {
			b.Run(name+each, func(b *testing.B) {
				k := newCached(b, cacheTree(b), someLimits)
				h := cacheRequests(k)[name]
				k.mustPrepare(string(h.Path))
				room, now := make([]byte, 0, 1000), k.now()
				b.ReportAllocs()
				for b.Loop() {
					if each != "" {
						k.Update()
					}
					a, ok := k.Answer(h, now, room, false)
					if !ok {
						b.Fatal("not answered")
					}
					if a.File != nil {
						a.File.Release()
					}
				}
			})
		}
	}
}
