package files

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const secret = "SECRET outside the root"

// tree makes a directory to serve, beside directories that must never be served.
//
//	top/root/...     top/root-2/secret     top/outside/{secret,index.html}
func tree(t testing.TB) (*os.Root, string) {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "root")
	for name, content := range map[string]string{
		"root/a.txt":                 "0123456789",
		"root/empty.bin":             "",
		"root/.hidden":               "hidden",
		"root/.well-known/x.txt":     "well known",
		"root/dir/b.raucb":           "bundle",
		"root/dir/sub/c.json":        "{}",
		"root/page/index.html":       "<p>page",
		"root/a b%41&<i>.txt":        "odd name",
		"root/a:b/x":                 "colon",
		"root/back\\slash":           "backslash",
		"root/indexdir/index.html/x": "index.html is a directory",
		"outside/secret":             secret,
		"outside/index.html":         secret,
		"root-2/secret":              secret,
	} {
		name = filepath.Join(top, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(content), 0o644))
	}
	for link, target := range map[string]string{
		"inside":          "dir/b.raucb",
		"insidedir":       "dir",
		"dir/up":          "../a.txt",
		"dir/sub/around":  "../../dir/sub/../../a.txt",
		"chain":           "insidedir/sub/../up",
		"dangling":        "nowhere",
		"loop":            "loop",
		"absolute":        filepath.Join(dir, "a.txt"),
		"out":             "../outside/secret",
		"outdir":          "../outside",
		"outabs":          filepath.Join(top, "outside"),
		"dir/sub/out":     "../../../outside/secret",
		"outsibling":      "../root-2/secret",
		"proc":            "/proc/self/root/" + filepath.Join(top, "outside/secret"),
		"around":          "../root/a.txt",
		"outslash":        "../outside/",
		"page/index2.txt": "../../outside/index.html",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	t.Cleanup(func() { socket.Close() })

	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// request returns a request whose decoded path is p, which may be any string.
func request(method, p string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	r.URL = &url.URL{Path: p}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// do answers a request, and checks the properties that every response has.
func do(t testing.TB, h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	checkResponse(t, r, w)
	return w
}

// tagOf returns the entity tag of a response, or "" if it has none under the name ETag.
func tagOf(header http.Header) string {
	//lint:ignore SA1008 this tests the spelling
	if tags := header["ETag"]; len(tags) == 1 {
		return tags[0]
	}
	return ""
}

func checkResponse(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	header, length := w.Header(), w.Header().Get("Content-Length")
	switch {
	case w.Code == http.StatusNoContent || w.Code == http.StatusNotModified:
		if length != "" || w.Body.Len() > 0 {
			t.Errorf("%s %q: status %d has a body", r.Method, r.URL.Path, w.Code)
		}
		return
	case r.Method == http.MethodHead:
		if w.Body.Len() > 0 {
			t.Errorf("HEAD %q has a body", r.URL.Path)
		}
		if length == "" {
			t.Errorf("HEAD %q has no Content-Length", r.URL.Path)
		}
	case length != strconv.Itoa(w.Body.Len()):
		t.Errorf("%s %q: Content-Length %q, body of %d bytes", r.Method, r.URL.Path, length, w.Body.Len())
	}
	if header.Get("Content-Type") == "" || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s %q: header %v", r.Method, r.URL.Path, header)
	}
	if w.Code >= 300 && (tagOf(header) != "" || header.Get("Last-Modified") != "") {
		t.Errorf("%s %q: an error with a validator: %v", r.Method, r.URL.Path, header)
	}
	if header["Etag"] != nil {
		t.Errorf("%s %q: the tag's field is spelled Etag", r.Method, r.URL.Path)
	}
	if location := header.Get("Location"); (w.Code == http.StatusMovedPermanently) != (location != "") ||
		location != "" && (location[0] != '/' || strings.HasPrefix(location, "//") || strings.ContainsAny(location, "\\ \r\n\t")) {
		t.Errorf("%s %q: status %d, Location %q", r.Method, r.URL.Path, w.Code, location)
	}
}

// TestPathsStayBelowTheRoot: each path is answered with its file, a redirect, or an error; HEAD is
// answered like GET.
func TestPathsStayBelowTheRoot(t *testing.T) {
	root, _ := tree(t)
	h := New(root, Options{})
	for _, test := range []struct {
		path   string
		status int
		want   string // body, or Location
	}{
		{"/a.txt", 200, "0123456789"},
		{"/empty.bin", 200, ""},
		{"/dir/b.raucb", 200, "bundle"},
		{"/a b%41&<i>.txt", 200, "odd name"},
		{"/a:b/x", 200, "colon"},
		{"/.hidden", 200, "hidden"},
		{"/.well-known/x.txt", 200, "well known"},
		{"/page/", 200, "<p>page"},
		{"/page/index.html", 200, "<p>page"},

		{"/inside", 200, "bundle"},
		{"/insidedir/b.raucb", 200, "bundle"},
		{"/dir/up", 200, "0123456789"},
		{"/dir/sub/around", 200, "0123456789"},
		{"/chain", 200, "0123456789"},

		{"/page", 301, "/page/"},
		{"/insidedir", 301, "/insidedir/"},
		{"/a:b", 301, "/a:b/"},
		{"//a.txt", 200, "0123456789"},
		{"///a.txt", 200, "0123456789"},
		{"/./a.txt", 200, "0123456789"},
		{"/.//./a.txt", 200, "0123456789"},
		{"/dir/../a.txt", 200, "0123456789"},
		{"/none/../a.txt", 200, "0123456789"},
		{"/dir//b.raucb", 200, "bundle"},
		{"/dir/./b.raucb", 200, "bundle"},
		{"/dir/sub/.././b.raucb", 200, "bundle"},
		{"//page/", 200, "<p>page"},
		{"/page//", 200, "<p>page"},
		{"/page/./", 200, "<p>page"},
		{"/dir/../page/", 200, "<p>page"},

		// A directory without its slash is redirected to its normalized path on this host.
		{"//page", 301, "/page/"},
		{"//dir//sub", 301, "/dir/sub/"},
		{"/./dir", 301, "/dir/"},
		{"/page/../dir", 301, "/dir/"},
		{"/.", 301, "/"},
		{"//.", 301, "/"},
		{"/dir/..", 301, "/"},
		{"//example.com/..", 301, "/"},
		{"/dir/.", 301, "/dir/"},
		{"/dir/sub/..", 301, "/dir/"},
		{"//dir/sub/..", 301, "/dir/"},
		{"/a b%41&<i>.txt/.", 301, "/a%20b%2541&%3Ci%3E.txt/"},

		// Paths that lead above the root.
		{"/..", 301, "/"},
		{"/../../a.txt", 301, "/a.txt"},
		{"/dir/../../a.txt", 301, "/a.txt"},
		{"//..//a.txt", 301, "/a.txt"},
		{"/..//example.com", 301, "/example.com"},
		{"/../dir/", 301, "/dir/"},

		{"//example.com/", 404, "not found\n"},
		{"///example.com", 404, "not found\n"},
		{"/.//example.com", 404, "not found\n"},
		{"/./", 404, "not found\n"},
		{"/dir//", 404, "not found\n"},
		{"/x?y#z/../", 404, "not found\n"},
		{"/a b%41&<i>.txt/./", 404, "not found\n"},
		{"//a.txt/", 404, "not found\n"},
		{"/", 404, "not found\n"},
		{"/dir/", 404, "not found\n"},
		{"/indexdir/", 404, "not found\n"},
		{"/a.txt/", 404, "not found\n"},
		{"/a.txt/x", 404, "not found\n"},
		{"/none", 404, "not found\n"},
		{"/dangling", 404, "not found\n"},
		{"/loop", 404, "not found\n"},
		{"/fifo", 404, "not found\n"},
		{"/socket", 404, "not found\n"},
		{"/back\\slash", 404, "not found\n"},
		{"/\\example.com", 404, "not found\n"},
		{"/\\/example.com/..", 404, "not found\n"},
		{"/" + strings.Repeat("n", 256), 404, "not found\n"},
		{"/" + strings.Repeat("n/", 3000), 404, "not found\n"},

		// Links that lead out of the root.
		{"/absolute", 404, "not found\n"},
		{"/out", 404, "not found\n"},
		{"/outdir", 404, "not found\n"},
		{"/outdir/", 404, "not found\n"},
		{"/outdir/secret", 404, "not found\n"},
		{"/outslash", 404, "not found\n"},
		{"/outslash/", 404, "not found\n"},
		{"/outslash/secret", 404, "not found\n"},
		{"/outabs/", 404, "not found\n"},
		{"/outabs/secret", 404, "not found\n"},
		{"/dir/sub/out", 404, "not found\n"},
		{"/outsibling", 404, "not found\n"},
		{"/proc", 404, "not found\n"},
		{"/around", 404, "not found\n"},
		{"/page/index2.txt", 404, "not found\n"},
		{"/../outside/secret", 301, "/outside/secret"},
		{"/dir/../../outside/secret", 301, "/outside/secret"},
		{"//outside/secret", 404, "not found\n"},
		{"/./outdir/secret", 404, "not found\n"},
		{"/insidedir/../outdir/secret", 404, "not found\n"},
		{"/outside/secret", 404, "not found\n"},
		{"/..\\outside\\secret", 404, "not found\n"},
		{"/...", 404, "not found\n"},

		{"/a.txt\x00", 400, badPath + "\n"},
		{"/a\n.txt", 400, badPath + "\n"},
		{"/\xff", 400, badPath + "\n"},
		{"a.txt", 400, badPath + "\n"},
		{"*", 400, badPath + "\n"},
	} {
		w := do(t, h, request("GET", test.path))
		got := w.Body.String()
		if w.Code == 301 {
			got = w.Header().Get("Location")
		}
		if w.Code != test.status || got != test.want {
			t.Errorf("GET %q: %d %q, want %d %q", test.path, w.Code, got, test.status, test.want)
		}
		head := do(t, h, request("HEAD", test.path))
		if head.Code != w.Code || head.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
			t.Errorf("HEAD %q: %d, length %s; GET: %d, length %s", test.path,
				head.Code, head.Header().Get("Content-Length"), w.Code, w.Header().Get("Content-Length"))
		}
	}
	if w := do(t, h, request("GET", "")); w.Code != 404 {
		t.Errorf("a target without a path: %d", w.Code)
	}
}

// TestRedirectKeepsASafeQuery: a query with characters that are invalid in a header field is dropped.
func TestRedirectKeepsASafeQuery(t *testing.T) {
	root, _ := tree(t)
	for query, want := range map[string]string{
		"v=1&w=%20": "/page/?v=1&w=%20",
		"a b":       "/page/",
		"a\r\nX: y": "/page/",
		"\xff":      "/page/",
	} {
		r := request("GET", "/page")
		r.URL.RawQuery = query
		if got := do(t, New(root, Options{}), r).Header().Get("Location"); got != want {
			t.Errorf("query %q: Location %q, want %q", query, got, want)
		}
	}
}

func TestOtherMethodsAreRejected(t *testing.T) {
	root, _ := tree(t)
	h := New(root, Options{})
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/a.txt", 200}, {"HEAD", "/a.txt", 200},
		{"OPTIONS", "/a.txt", 204}, {"OPTIONS", "*", 204}, {"OPTIONS", "/none", 204},
		{"POST", "/a.txt", 405}, {"PUT", "/new", 405}, {"DELETE", "/a.txt", 405}, {"PATCH", "/a.txt", 405},
		{"TRACE", "/", 405}, {"CONNECT", "", 405}, {"PROPFIND", "/", 405}, {"get", "/a.txt", 405},
	} {
		w := do(t, h, request(test.method, test.path))
		if w.Code != test.status {
			t.Errorf("%s %s: %d, want %d", test.method, test.path, w.Code, test.status)
		}
		if allow := w.Header().Get("Allow"); (allow == "GET, HEAD, OPTIONS") != (test.status != 200) {
			t.Errorf("%s %s: Allow %q", test.method, test.path, allow)
		}
	}
}

func TestStatusOfSystemErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{errors.New("path escapes from parent"), 404},
		{errNotServed, 404},
		{syscall.ENOENT, 404}, {syscall.ENOTDIR, 404}, {syscall.ELOOP, 404}, {syscall.ENAMETOOLONG, 404}, {syscall.ENXIO, 404},
		{syscall.EACCES, 403}, {syscall.EPERM, 403},
		{syscall.EMFILE, 503}, {syscall.ENFILE, 503}, {syscall.ENOMEM, 503},
		{syscall.EIO, 500}, {syscall.ESTALE, 500}, {os.ErrClosed, 500},
	} {
		if got := statusOf(&fs.PathError{Op: "openat", Path: "x", Err: test.err}); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

// TestHandlerWorksUnderNetHTTP: under net/http's server each response has a Content-Length, and no
// descriptor stays open.
func TestHandlerWorksUnderNetHTTP(t *testing.T) {
	root, _ := tree(t)
	before := descriptors(t)
	server := httptest.NewServer(New(root, Options{Listing: true}))
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/", "/a.txt", "/none", "/dir", "/dir/", "/page/", "/fifo", "/a.txt/", "/empty.bin"} {
		for _, ranged := range []string{"", "bytes=1-2", "bytes=1-2,4-5", "bytes=50-", "bytes=x"} {
			r, err := http.NewRequest("GET", server.URL+path, nil)
			must(t, err)
			if ranged != "" {
				r.Header.Set("Range", ranged)
			}
			res, err := client.Do(r)
			must(t, err)
			body, err := io.ReadAll(res.Body)
			must(t, err)
			res.Body.Close()
			if res.ContentLength != int64(len(body)) || res.TransferEncoding != nil {
				t.Errorf("%s, Range %q: Content-Length %d, %v, body of %d", path, ranged, res.ContentLength, res.TransferEncoding, len(body))
			}
		}
	}
	client.CloseIdleConnections()
	server.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	// The descriptors of the runtime's poller stay open, once created.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.Close()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}
