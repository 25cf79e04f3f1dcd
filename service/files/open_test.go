package files

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// serveCached calls h without permission to wait for storage, and reports whether it answers.
func serveCached(h http.Handler, w http.ResponseWriter, r *http.Request) bool {
	inner := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) })
	_, err := http1.Serve(r.Context(), inner, r, http1.Options{})
	return err != http1.ErrWouldBlock
}

// TestCachedNamesAreServedWithoutWaiting: without permission to wait, the handler gives the same
// answer as with it, or writes nothing and asks to be called again.
func TestCachedNamesAreServedWithoutWaiting(t *testing.T) {
	root, _ := tree(t)
	dir, err := root.Open(".")
	must(t, err)
	defer dir.Close()
	h := newHandler(root, Options{Listing: true, Directory: dir}, kernel())
	for _, test := range []struct {
		path string
		want bool
	}{
		{"/a.txt", true},
		{"/dir/b.raucb", true},
		{"/dir", true},
		{"/dir/", false}, // a listing
		{"/page/", true},
		{"/dir/../a.txt", true},
		{"//dir", true},     // a redirect
		{"/../a.txt", true}, // a redirect
		{"/dir/none", true},
		{"/gone/none", true},
		{"/dir/sub/", false}, // a listing
		{"/inside", true},    // a link
		{"/out", false},      // this path and the next three lead outside
		{"/outdir/secret", false},
		{"/absolute", false},
		{"/proc", false},
		{"/fifo", true},
		{"/back\\slash", true},
		{"*", true}, // an error
	} {
		t.Run(test.path, func(t *testing.T) {
			r := request("GET", test.path)
			want := do(t, h, r) // brings the name into the cache
			got := httptest.NewRecorder()
			if served := serveCached(h, got, r); served != test.want {
				t.Fatalf("%v, want %v", served, test.want)
			}
			if !test.want {
				want = httptest.NewRecorder()
			}
			if got.Code != want.Code || got.Body.String() != want.Body.String() || !reflect.DeepEqual(got.Header(), want.Header()) {
				t.Errorf("%d %v %q, want %d %v %q", got.Code, got.Header(), got.Body, want.Code, want.Header(), want.Body)
			}
		})
	}
	if !serveCached(newHandler(root, Options{Directory: dir}, kernel()), httptest.NewRecorder(), request("GET", "/dir/")) {
		t.Error("a directory without index.html and listing is not answered")
	}
	if serveCached(newHandler(root, Options{}, kernel()), httptest.NewRecorder(), request("GET", "/a.txt")) {
		t.Error("without Options.Directory a file is taken to be cached")
	}
}

// TestUnreadableFilesAreForbidden: without permission the status is 403, not 404.
func TestUnreadableFilesAreForbidden(t *testing.T) {
	root, dir := tree(t)
	for _, name := range []string{"a.txt", "dir", "page/index.html"} {
		must(t, os.Chmod(filepath.Join(dir, name), 0))
	}
	defer os.Chmod(filepath.Join(dir, "dir"), 0o755)

	// Root may read all files. setfsuid(2) makes this thread another user for file access.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		must(t, os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755))
		must(t, os.Chmod(filepath.Dir(dir), 0o755))
		must(t, unix.Setfsuid(65534))
		defer unix.Setfsuid(0)
	}
	h := New(root, Options{Listing: true})
	for _, path := range []string{"/a.txt", "/dir/", "/dir", "/dir/b.raucb", "/page/"} {
		if w := do(t, h, request("GET", path)); w.Code != 403 || w.Body.String() != "the server may not read this file\n" {
			t.Errorf("GET %s: %d %q", path, w.Code, w.Body)
		}
	}
}

// TestMissingDescriptorsCause503: the response has Retry-After, and the next request succeeds.
func TestMissingDescriptorsCause503(t *testing.T) {
	root, _ := tree(t)
	h := New(root, Options{Listing: true})
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 0
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("GET", "/a.txt"))
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))

	checkResponse(t, request("GET", "/a.txt"), w)
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d, header %v", w.Code, w.Header())
	}
	if w := do(t, h, request("GET", "/a.txt")); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}
