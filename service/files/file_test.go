package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openFile opens name in dir as the handler does.
func openFile(t *testing.T, dir, name string) *File {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	file, opened, err := newHandler(root, Options{}, kernel()).open(request("GET", "/"), name, true)
	must(t, err)
	if opened != nil {
		t.Fatalf("%s is a directory", name)
	}
	return file
}

func TestFile(t *testing.T) {
	_, dir := tree(t)
	f := openFile(t, dir, "dir/b.raucb")
	if f.Name() != "dir/b.raucb" || f.Size() != 6 {
		t.Errorf("%q of %d bytes", f.Name(), f.Size())
	}
	buf := make([]byte, 4)
	if n, err := f.ReadAt(buf, 3); n != 3 || err != io.EOF || string(buf[:n]) != "dle" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := unix.Pread(f.Fd(), buf, 0); n != 4 || err != nil || string(buf) != "bund" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	flags, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 || flags&unix.O_ACCMODE != unix.O_RDONLY {
		t.Errorf("flags %o, %v", flags, err)
	}
	if flags, err = unix.FcntlInt(uintptr(f.Fd()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("inherited by children: %o, %v", flags, err)
	}
	f.Release()
}

// The last of many holders closes, whoever it is, and nobody before.
func TestHolders(t *testing.T) {
	_, dir := tree(t)
	f := openFile(t, dir, "a.txt")
	var wait sync.WaitGroup
	for range 8 {
		f.Acquire()
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 1000 {
				f.Acquire()
				if _, err := f.ReadAt(make([]byte, 1), 0); err != nil {
					t.Error(err)
				}
				f.Release()
			}
			f.Release()
		}()
	}
	f.Release()
	wait.Wait()
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the last release: %v", err)
	}
	for name, misuse := range map[string]func(){"Release": f.Release, "Acquire": f.Acquire} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.HasPrefix(p, "files: "+name+" of the closed file a.txt") {
					t.Errorf("%s of a closed file: %v", name, p)
				}
				f.holders.Store(0)
			}()
			misuse()
		}()
	}
}

func TestUnchanged(t *testing.T) {
	past := time.Unix(1_700_000_000, 123_456_789)
	for _, test := range []struct {
		name   string
		change func(name string) error
		want   []string // in the error, in this order; nil: unchanged
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"read", func(name string) error { _, err := os.ReadFile(name); return err }, nil},
		{"cut", func(name string) error { return os.Truncate(name, 5) },
			[]string{"files: dir/x changed since it was opened: size was 10, is 5", "mtime was ", "ctime was "}},
		{"cut to nothing", func(name string) error { return os.Truncate(name, 0) }, []string{"size was 10, is 0"}},
		{"longer", func(name string) error { return os.Truncate(name, 11) }, []string{"size was 10, is 11"}},
		{"overwritten in place", overwrite, []string{"opened: mtime was 2023-11-14T22:13:20.123456789Z, is ", "ctime was "}},
		{"overwritten, its time set back", func(name string) error {
			return errors.Join(overwrite(name), os.Chtimes(name, past, past))
		}, []string{"opened: ctime was "}},
		{"cut and filled again, its time set back", func(name string) error {
			return errors.Join(os.Truncate(name, 0), overwrite(name), os.Chtimes(name, past, past))
		}, []string{"opened: ctime was "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "dir", "x")
			must(t, os.Mkdir(filepath.Dir(name), 0o755))
			must(t, os.WriteFile(name, []byte("0123456789"), 0o644))
			must(t, os.Chtimes(name, past, past))
			f := openFile(t, dir, "dir/x")
			defer f.Release()
			tag := f.stat.etag()
			nextTick(t, dir, f.stat.changed)
			must(t, test.change(name))

			err := f.Unchanged()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			rest := ""
			if err != nil {
				rest = err.Error()
			}
			for _, want := range test.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("%v, want %q", err, test.want)
				}
				rest = after
			}
			// The entity tag tells as well.
			now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
			must(t, err)
			if (now.etag() == tag) != (test.want == nil) {
				t.Errorf("the tag was %s, is %s", tag, now.etag())
			}
		})
	}
}

// TestPublished: a file keeps its bytes when its names change, whatever the order, and the
// tag tells nevertheless that there was a change. A write among such changes is told, with its
// mtime set back as well if no name changed since the last look.
func TestPublished(t *testing.T) {
	past := time.Unix(1_700_000_000, 123_456_789)
	replace := func(name string) error {
		return errors.Join(os.WriteFile(name+".new", []byte("other"), 0o644), os.Rename(name+".new", name))
	}
	setBack := func(name string) error { return os.Chtimes(name, past, past) }
	// A change is a step, of which the name of the open file is one argument, and the
	// directory of others is another.
	type step struct {
		do      func(name, dir string) error
		changed bool // is what is to be told after it
	}
	at := func(do func(name string) error) func(name, _ string) error {
		return func(name, _ string) error { return do(name) }
	}
	link := step{func(name, dir string) error { return os.Link(name, filepath.Join(dir, "link")) }, false}
	unlink := step{func(name, _ string) error { return os.Remove(name) }, false}
	rename := step{func(name, dir string) error { return os.Rename(name, filepath.Join(dir, "old")) }, false}
	for _, test := range []struct {
		name  string
		steps []step
		large bool // only files of more than pathSize
	}{
		{"replaced", []step{{at(replace), false}}, false},
		{"removed", []step{unlink}, false},
		{"linked", []step{link}, false},
		{"linked, and the link removed, seen between", []step{link,
			{func(_, dir string) error { return os.Remove(filepath.Join(dir, "link")) }, false}}, false},
		{"linked, and replaced, and the link removed", []step{link, {at(replace), false},
			{func(_, dir string) error { return os.Remove(filepath.Join(dir, "link")) }, false}}, false},
		{"linked, and the name removed, at once", []step{{func(name, dir string) error {
			return errors.Join(link.do(name, dir), unlink.do(name, dir))
		}, false}}, true},
		{"renamed", []step{rename}, true},
		{"renamed and back, seen between", []step{rename,
			{func(name, dir string) error { return os.Rename(filepath.Join(dir, "old"), name) }, false}}, true},
		{"moved to another directory", []step{{func(name, dir string) error {
			sub := filepath.Join(dir, "sub")
			return errors.Join(os.Mkdir(sub, 0o755), os.Rename(name, filepath.Join(sub, filepath.Base(name))))
		}, false}}, true},
		{"exchanged", []step{{func(name, dir string) error {
			other := filepath.Join(dir, "other")
			return errors.Join(os.WriteFile(other, []byte("other"), 0o644),
				unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE))
		}, false}}, true},
		{"the directory renamed, then the file replaced", []step{{func(name, dir string) error {
			return os.Rename(filepath.Dir(name), filepath.Join(dir, "moved"))
		}, false}, {func(name, dir string) error {
			return replace(filepath.Join(dir, "moved", filepath.Base(name)))
		}, false}}, false},

		{"new permissions", []step{{func(name, _ string) error { return os.Chmod(name, 0o600) }, true}}, false},
		{"the same permissions", []step{{func(name, _ string) error { return os.Chmod(name, 0o644) }, true}}, false},
		{"linked and overwritten", []step{link, {at(overwrite), true}}, false},
		{"linked and overwritten at once", []step{{func(name, dir string) error {
			return errors.Join(link.do(name, dir), overwrite(name))
		}, true}}, false},
		{"linked, then overwritten, its time set back", []step{link, {func(name, _ string) error {
			return errors.Join(overwrite(name), setBack(name))
		}, true}}, false},
		{"renamed, then overwritten, its time set back", []step{rename, {func(_, dir string) error {
			name := filepath.Join(dir, "old")
			return errors.Join(overwrite(name), setBack(name))
		}, true}}, true},
		{"replaced and cut", []step{{func(name, dir string) error {
			return errors.Join(link.do(name, dir), replace(name), os.Truncate(filepath.Join(dir, "link"), 1))
		}, true}}, false},
	} {
		for _, size := range []int{10, pathSize + 1} {
			if test.large && size <= pathSize {
				continue
			}
			for check, unchanged := range map[string]func(*File) error{"Unchanged": (*File).Unchanged, "UnchangedNow": (*File).UnchangedNow} {
				t.Run(fmt.Sprint(test.name, " ", size, " ", check), func(t *testing.T) {
					top := t.TempDir()
					name, dir := filepath.Join(top, "root", "x"), filepath.Join(top, "root-2")
					must(t, errors.Join(os.Mkdir(filepath.Dir(name), 0o755), os.Mkdir(dir, 0o755)))
					must(t, os.WriteFile(name, make([]byte, size), 0o644))
					must(t, setBack(name))
					f := openFile(t, filepath.Dir(name), "x")
					defer f.Release()
					last := f.stat.changed
					for i, s := range test.steps {
						nextTick(t, top, last)
						must(t, s.do(name, dir))
						err := unchanged(f)
						for s.changed && err == nil && check == "UnchangedNow" {
							err = unchanged(f) // of ctime alone it is told a moment later
						}
						// Unchanged decides at once.
						for range 2 {
							if (err != nil) != s.changed {
								t.Fatalf("step %d: %v, want an error: %v", i, err, s.changed)
							}
							err = f.Unchanged()
						}
						now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
						must(t, err)
						last = now.changed
					}
					now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
					must(t, err)
					if now.etag() == f.stat.etag() {
						t.Errorf("the tag is still %s", now.etag())
					}
				})
			}
		}
	}
}

// TestRenamedMeanwhile: a rename between the looks at ctime and at the path is not taken for
// an unexplained change the next time.
func TestRenamedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	must(t, os.WriteFile(name, make([]byte, pathSize+1), 0o644))
	f := openFile(t, dir, "x")
	defer f.Release()
	nextTick(t, dir, f.stat.changed)
	must(t, os.Link(name, name+".link"))
	once := true
	f.system.path = func(fd int) string {
		if once {
			once = false
			now, err := identify(fd, "", unix.AT_EMPTY_PATH)
			must(t, err)
			nextTick(t, dir, now.changed)
			must(t, os.Rename(name, name+".old"))
		}
		return descriptorPath(fd)
	}
	for range 2 {
		must(t, f.Unchanged())
	}
	if once {
		t.Error("the path was not read")
	}
	// A path that cannot be read explains nothing.
	f.system.path = func(int) string { return "" }
	now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
	must(t, err)
	nextTick(t, dir, now.changed)
	must(t, os.Chmod(name+".old", 0o600))
	if f.Unchanged() == nil {
		t.Error("new permissions, and unchanged")
	}
}

// TestHalfWay: file systems and the kernel move ctime, number of links and path one after the
// other, in any order. A look between them is no change.
func TestHalfWay(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "x"), make([]byte, pathSize+1), 0o644))
	type look struct {
		changed uint32 // nanoseconds
		links   uint32
		path    string
	}
	for _, test := range []struct {
		name  string
		looks []look
	}{
		{"a link, ctime first", []look{{2, 1, "x"}, {2, 2, "x"}}},
		{"a link, ctime last", []look{{1, 2, "x"}, {2, 2, "x"}}},
		{"a rename, ctime first", []look{{2, 1, "x"}, {2, 1, "y"}}},
		{"a rename, ctime last", []look{{1, 1, "y"}, {2, 1, "y"}}},
		{"a link added and removed in one tick, and once more", []look{{2, 2, "x"}, {2, 1, "x"}, {3, 2, "x"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := openFile(t, dir, "x")
			defer f.Release()
			at := 0
			f.stat.changed.nanoseconds = 1
			f.accepted = place{changed: f.stat.changed, links: 1, path: "x"}
			f.system.path = func(int) string { return test.looks[at].path }
			f.system.identify = func(int) (identity, error) {
				now := f.stat
				now.changed.nanoseconds, now.links = test.looks[at].changed, test.looks[at].links
				return now, nil
			}
			f.system.identifyNow = f.system.identify
			for at = range test.looks {
				must(t, f.UnchangedNow())
			}
			must(t, f.Unchanged())
			// While Unchanged waits, the rest comes.
			g := openFile(t, dir, "x")
			defer g.Release()
			g.stat, g.accepted, g.system = f.stat, place{changed: f.stat.changed, links: 1, path: "x"}, f.system
			g.system.wait = func(context.Context, time.Duration) error { at = min(at+1, len(test.looks)-1); return nil }
			for at = 0; at < len(test.looks); at++ {
				must(t, g.Unchanged())
			}
		})
	}
}

// TestUnchangedTogether: goroutines that see the same change at the same time agree.
func TestUnchangedTogether(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	must(t, os.WriteFile(name, make([]byte, pathSize+1), 0o644))
	f := openFile(t, dir, "x")
	defer f.Release()
	var wait sync.WaitGroup
	for _, unchanged := range []func() error{f.Unchanged, f.UnchangedNow, f.Unchanged, f.UnchangedNow} {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 200 {
				if err := unchanged(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	for i := range 20 {
		must(t, os.Rename(name, fmt.Sprint(name, i)))
		name = fmt.Sprint(name, i)
	}
	must(t, os.Remove(name))
	wait.Wait()
}

func overwrite(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("9876543210"))
	return errors.Join(err, f.Close())
}

// nextTick returns when the file system's clock, which may be a coarse one, is
// past m.
func nextTick(t *testing.T, dir string, m moment) {
	t.Helper()
	probe := filepath.Join(dir, "probe")
	for {
		must(t, os.WriteFile(probe, nil, 0o644))
		stat, err := identify(unix.AT_FDCWD, probe, 0)
		must(t, err)
		must(t, os.Remove(probe))
		if stat.changed != m {
			return
		}
	}
}

// Offsets and sizes beyond 32 bits.
func TestBeyond4GiB(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "big.img")
	const size = 5<<30 + 3
	w, err := os.Create(name)
	must(t, err)
	_, err = w.WriteAt([]byte("end"), size-3)
	must(t, err)
	must(t, w.Close())
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	h := New(root, Options{})

	w1 := do(t, h, request("GET", "/big.img", "Range", "bytes=-4"))
	if w1.Code != 206 || w1.Body.String() != "\x00end" || w1.Header().Get("Content-Range") != "bytes 5368709119-5368709122/5368709123" {
		t.Errorf("%d, %q, %v", w1.Code, w1.Body, w1.Header())
	}
	w2 := do(t, h, request("GET", "/big.img", "Range", "bytes=5368709120-5368709121,0-0"))
	if got := parts2(t, w2); w2.Code != 206 || got != "en|\x00" {
		t.Errorf("%d, %q", w2.Code, got)
	}
	head := httptest.NewRecorder()
	h.ServeHTTP(head, request("HEAD", "/big.img"))
	if got := head.Header().Get("Content-Length"); head.Code != http.StatusOK || got != "5368709123" {
		t.Errorf("HEAD: %d, length %s", head.Code, got)
	}
}

func parts2(t *testing.T, w *httptest.ResponseRecorder) string {
	body := w.Body.String()
	var found []string
	for _, piece := range strings.Split(body, "\r\n\r\n")[1:] {
		content, _, _ := strings.Cut(piece, "\r\n--")
		found = append(found, content)
	}
	return strings.Join(found, "|")
}
