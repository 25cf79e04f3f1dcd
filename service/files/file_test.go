package files

import (
	"errors"
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
	file, folder, err := newHandler(root, Options{}, kernel()).open(t.Context(), name, true)
	must(t, err)
	if folder != nil {
		t.Fatalf("%s is a folder", name)
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
		{"replaced", func(name string) error {
			return errors.Join(os.WriteFile(name+".new", []byte("9876543210"), 0o644), os.Rename(name+".new", name))
		}, []string{"opened: ctime was ", "number of links was 1, is 0"}},
		{"removed", os.Remove, []string{"number of links was 1, is 0"}},
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
