package files

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// serveCached calls h where it may not wait for storage, and reports whether it answers.
func serveCached(h http.Handler, w http.ResponseWriter, r *http.Request) bool {
	inner := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) })
	_, err := http1.Serve(r.Context(), inner, r, http1.Options{})
	return err != http1.ErrWouldBlock
}

// TestServeCached: names in the kernel's cache are answered as where the handler may wait; for
// all others nothing is written.
func TestServeCached(t *testing.T) {
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
		{"/out", false},      // the next ones lead outside
		{"/outdir/secret", false},
		{"/absolute", false},
		{"/proc", false},
		{"/fifo", true},
		{"/back\\slash", true},
		{"*", true}, // an error
	} {
		t.Run(test.path, func(t *testing.T) {
			r := request("GET", test.path)
			want := do(t, h, r) // now it is in the cache
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
		t.Error("that there is no index, nor a listing, is not said")
	}
	if serveCached(newHandler(root, Options{}, kernel()), httptest.NewRecorder(), request("GET", "/a.txt")) {
		t.Error("without a directory to ask, something is taken for cached")
	}
}

// TestReadNow: what is in memory is read at once; what is not, is not.
func TestReadNow(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	must(t, os.WriteFile(name, []byte("0123456789"), 0o644))
	f := openFile(t, dir, "f")
	defer f.Release()
	buf := make([]byte, 4)
	n, err := f.ReadNow(buf, 8)
	if tells := !errors.Is(err, unix.EAGAIN); tells {
		if n != 2 || err != nil || string(buf[:n]) != "89" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		if n, err := f.ReadNow(buf, 10); n != 0 || err != nil {
			t.Errorf("at the end: %d, %v", n, err)
		}
	}
	if f.inMemory() {
		return
	}
	// Written, its pages can be forgotten.
	w, err := os.OpenFile(name, os.O_WRONLY, 0)
	must(t, err)
	defer w.Close()
	n, err = 0, nil
	for range 1000 { // the kernel keeps a page that it is about to move between its lists
		must(t, w.Sync())
		must(t, unix.Fadvise(int(w.Fd()), 0, 0, unix.FADV_DONTNEED))
		if n, err = f.ReadNow(buf, 0); err != nil {
			break
		}
	}
	if n != 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("of a file that is not in memory: %d, %v", n, err)
	}
	if n, err := f.ReadAt(buf, 0); n != 4 || err != nil {
		t.Errorf("with waiting: %d, %v", n, err)
	}
}

// TestReadNowTmpfs: where there is no disk, all is in memory, though the kernel does not
// say so.
func TestReadNowTmpfs(t *testing.T) {
	const tmpfs = "/dev/shm"
	dir, err := os.MkdirTemp(tmpfs, "files")
	must(t, err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "f")
	w, err := os.Create(name)
	must(t, err)
	const far = 5 << 30 // beyond 32 bits
	_, err = w.WriteAt([]byte("end"), far)
	must(t, errors.Join(err, w.Close()))
	f := openFile(t, dir, "f")
	defer f.Release()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if !strings.Contains(string(mounts), " "+tmpfs+" tmpfs ") {
		t.Skipf("%s is not a tmpfs here", tmpfs)
	}
	if !f.inMemory() {
		t.Errorf("%s is a tmpfs, and its files are taken to be on a disk", tmpfs)
	}
	buf := make([]byte, 10)
	if n, err := f.ReadNow(buf, far); n != 3 || err != nil || string(buf[:n]) != "end" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := f.ReadNow(buf, far+3); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}
