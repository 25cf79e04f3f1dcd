package files

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// openFile opens name in dir as the handler does.
func openFile(t *testing.T, dir, name string) *File {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	file, opened, err := newHandler(root, Options{}, kernel()).open(callerOf(request("GET", "/")), name, true)
	must(t, err)
	if opened != nil {
		t.Fatalf("%s is a directory", name)
	}
	return file
}

// TestOpenFileBlocksAndIsNotInherited: the descriptor is read-only, in blocking mode, and closed on
// exec.
func TestOpenFileBlocksAndIsNotInherited(t *testing.T) {
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

// TestLastReleaseClosesTheFile: the file is open until the last holder releases it. A further
// Release or Acquire panics.
func TestLastReleaseClosesTheFile(t *testing.T) {
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

// TestReadNowReadsOnlyCachedBytes: ReadNow returns cached bytes, and EAGAIN for others.
func TestReadNowReadsOnlyCachedBytes(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	must(t, os.WriteFile(name, []byte("0123456789"), 0o644))
	f := openFile(t, dir, "f")
	defer f.Release()
	buf := make([]byte, 4)
	n, err := f.ReadNow(buf, 8)
	if supported := !errors.Is(err, unix.EAGAIN); supported {
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
	// The kernel can drop the pages of a file that is on disk.
	w, err := os.OpenFile(name, os.O_WRONLY, 0)
	must(t, err)
	defer w.Close()
	n, err = 0, nil
	for range 1000 { // the kernel keeps a page while it moves it between its lists
		must(t, w.Sync())
		must(t, unix.Fadvise(int(w.Fd()), 0, 0, unix.FADV_DONTNEED))
		if n, err = f.ReadNow(buf, 0); err != nil {
			break
		}
	}
	if n != 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("a file that is not cached: %d, %v", n, err)
	}
	if n, err := f.ReadAt(buf, 0); n != 4 || err != nil {
		t.Errorf("with waiting: %d, %v", n, err)
	}
}

// TestReadNowReadsTmpfs: tmpfs does not support RWF_NOWAIT, but all its bytes are in memory.
func TestReadNowReadsTmpfs(t *testing.T) {
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
