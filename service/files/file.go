package files

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// File is an open regular file with a reference count. It is closed when its last holder
// releases it. All its methods may be called by several goroutines at the same time.
type File struct {
	local   bool // see Local
	file    *os.File
	fd      int
	name    string
	stat    identity // at the time of opening
	origin  origin
	system  system
	holders atomic.Int32

	mu       sync.Mutex
	accepted place     // guarded by mu
	doubted  time.Time // when a ctime without explanation was first seen, or zero; guarded by mu
}

// Acquire adds a holder. It panics if the last holder has already released the file: the
// caller must know that another holder still exists.
func (f *File) Acquire() {
	if f.holders.Add(1) <= 1 {
		panic("files: Acquire of the closed file " + f.name)
	}
}

// Release removes a holder, and closes the file if it was the last one. The handler that opens
// the file is its first holder.
func (f *File) Release() {
	switch n := f.holders.Add(-1); {
	case n == 0:
		f.file.Close() // opened for reading: nothing is lost
	case n < 0:
		panic("files: Release of the closed file " + f.name)
	}
}

// ReadAt implements io.ReaderAt. After the last Release the error is
// os.ErrClosed.
func (f *File) ReadAt(p []byte, offset int64) (int, error) { return f.file.ReadAt(p, offset) }

// ReadNow reads like ReadAt, but from the page cache only, see preadv2(2), RWF_NOWAIT. It
// returns fewer bytes if only a part is cached, and EAGAIN if nothing is cached or the file
// system cannot tell. At the end of the file it returns 0 and no error.
//
// If no page of the file is cached, the kernel starts readahead; if the file's block mapping
// is not in memory either, the kernel waits to read it.
func (f *File) ReadNow(p []byte, offset int64) (int, error) {
	n, err := unix.Preadv2(f.fd, [][]byte{p}, offset, unix.RWF_NOWAIT)
	switch err {
	case nil:
		return n, nil
	case unix.EOPNOTSUPP, unix.ENOSYS:
		if !f.inMemory() {
			return 0, unix.EAGAIN
		}
		if n, err = unix.Pread(f.fd, p, offset); err == nil {
			return n, nil
		}
	}
	return 0, os.NewSyscallError("preadv2", err)
}

// inMemory reports whether the file is on a file system that is held in memory (tmpfs, ramfs),
// so that reads do not wait for storage. Such file systems do not support RWF_NOWAIT.
func (f *File) inMemory() bool {
	var s unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &s); err != nil {
		return false
	}
	kind := uint32(s.Type) // s.Type is signed on 32-bit machines
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}

// Fd returns the descriptor, in blocking mode. It is valid while the caller holds the file;
// the caller must not close it or seek in it.
func (f *File) Fd() int { return f.fd }

// Name returns the path relative to the root, with slashes.
func (f *File) Name() string { return f.name }

// Size returns the size in bytes when the file was opened.
func (f *File) Size() int64 { return f.stat.size }

// Deleted reports whether the file had no name left at its last check, as after another file
// was renamed over it. The last Release then frees the file's blocks, and may wait for the disk.
func (f *File) Deleted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accepted.links == 0
}

// Local reports whether the file is on the root's own file system, and that file system is
// local to this machine: cached data of the file is then available without a wait.
func (f *File) Local() bool { return f.local }

// etag returns the strong entity tag, in quotes.
func (f *File) etag() string {
	tag := f.stat.etag()
	if f.origin.hash != "" {
		tag = tag[:len(tag)-1] + "-" + f.origin.hash + `"`
	}
	return tag
}
