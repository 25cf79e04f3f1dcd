package files

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCached: what the kernel has in its cache of names is served without waiting, and
// what is not there is not taken for it.
func TestCached(t *testing.T) {
	root, _ := tree(t)
	folder, err := root.Open(".")
	must(t, err)
	defer folder.Close()
	h := newHandler(root, Options{Listing: true, Folder: folder}, kernel())
	for _, test := range []struct {
		path string
		want bool
	}{
		{"/a.txt", true},
		{"/dir/b.raucb", true},
		{"/dir", true},      // a redirect
		{"/dir/", false},    // a listing
		{"/page/", true},    // its index
		{"/dir/../a", true}, // a redirect
		{"/dir/none", true},
		{"/gone/none", true},   // there is no such folder
		{"/dir/sub/", false},   // a listing
		{"/inside", true},      // a link
		{"/out", false},        // a link that leads outside; of that the kernel says nothing
		{"/absolute", true},    // the same
		{"/back\\slash", true}, // not looked for
		{"*", true},            // an error
	} {
		t.Run(test.path, func(t *testing.T) {
			r := request("GET", test.path)
			h.ServeHTTP(httptest.NewRecorder(), r) // now it is in the cache
			if got := h.Cached(r); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
	if r := request("GET", "/dir/"); !newHandler(root, Options{Folder: folder}, kernel()).Cached(r) {
		t.Error("a 404 for a folder without index is not taken for cached")
	}
	if r := request("GET", "/a.txt"); newHandler(root, Options{}, kernel()).Cached(r) {
		t.Error("without a folder to ask, something is taken for cached")
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
	must(t, w.Sync())
	must(t, unix.Fadvise(int(w.Fd()), 0, 0, unix.FADV_DONTNEED))
	must(t, w.Close())
	if n, err := f.ReadNow(buf, 0); n != 0 || !errors.Is(err, unix.EAGAIN) {
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
	if !f.inMemory() {
		t.Skipf("%s is not a tmpfs", tmpfs)
	}
	buf := make([]byte, 10)
	if n, err := f.ReadNow(buf, far); n != 3 || err != nil || string(buf[:n]) != "end" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := f.ReadNow(buf, far+3); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}
