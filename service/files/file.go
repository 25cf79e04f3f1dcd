package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// errNotServed is the error for what exists but is neither a regular file nor a
// folder.
var errNotServed = errors.New("files: neither a regular file nor a folder")

// File is an open regular file. It is closed when its last holder releases it.
// All its methods may be called by several goroutines at the same time.
type File struct {
	file     *os.File
	fd       int
	name     string
	stat     identity
	identify func(fd int) (identity, error)
	holders  atomic.Int32
}

// identity is what tells a file from another, and from itself after a change.
type identity struct {
	device, inode uint64
	size          int64 // bytes
	modified      moment
	changed       moment // of the inode: ctime
	links         uint32 // not part of the identity; explains a change of ctime
	mode          uint16
}

type moment struct {
	seconds     int64 // since 1970
	nanoseconds uint32
}

func (m moment) time() time.Time { return time.Unix(m.seconds, int64(m.nanoseconds)) }

// Acquire adds a holder. It panics if the last one has released the file
// already: who acquires must know that another still holds it.
func (f *File) Acquire() {
	if f.holders.Add(1) <= 1 {
		panic("files: Acquire of the closed file " + f.name)
	}
}

// Release gives up what New or Acquire gave, and closes the file if nobody else
// holds it.
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

// ReadNow is ReadAt of what is in memory, see preadv2(2), RWF_NOWAIT. It returns fewer bytes
// where not all is, and EAGAIN where nothing is or where the file system cannot tell. At
// the end of the file it returns 0 and no error.
//
// On a file of which nothing is in memory, the kernel begins to read ahead; if where its
// bytes are on the disk is not in memory either, it waits for that.
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

// inMemory reports whether the file's file system has nothing to wait for. That has no
// RWF_NOWAIT.
func (f *File) inMemory() bool {
	var s unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &s); err != nil {
		return false
	}
	kind := uint32(s.Type) // which is signed on 32-bit machines
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}

// Fd returns the descriptor, in blocking mode. It is valid while the file is
// held, and is not to be closed or seeked.
func (f *File) Fd() int { return f.fd }

// Name returns the path below the root, with slashes.
func (f *File) Name() string { return f.name }

// Size returns the size in bytes when the file was opened.
func (f *File) Size() int64 { return f.stat.size }

// Unchanged returns nil if the file still has the device, inode, size, mtime and
// ctime that it had when it was opened, else an error that says what changed. A
// link added or removed changes ctime as well: a file that was replaced by a
// rename is changed, though its old bytes are still whole.
//
// See the package comment, Validators, for what this cannot tell.
func (f *File) Unchanged() error {
	now, err := f.identify(f.fd)
	if err != nil {
		return fmt.Errorf("files: %s: %w", f.name, err)
	}
	changes := f.stat.changes(now)
	if len(changes) == 0 {
		return nil
	}
	return fmt.Errorf("files: %s changed since it was opened: %s", f.name, strings.Join(changes, ", "))
}

// Deleted reports whether the file has no name any more, as after another has been
// renamed to its place; or whether that cannot be told. The last Release then frees its
// bytes on the disk, and may wait for it.
func (f *File) Deleted() bool {
	now, err := f.identify(f.fd)
	return err != nil || now.links == 0
}

func (was identity) changes(now identity) []string {
	var changes []string
	add := func(what, from, to string) {
		if from != to {
			changes = append(changes, what+" was "+from+", is "+to)
		}
	}
	add("device", strconv.FormatUint(was.device, 16), strconv.FormatUint(now.device, 16))
	add("inode", strconv.FormatUint(was.inode, 10), strconv.FormatUint(now.inode, 10))
	add("size", strconv.FormatInt(was.size, 10), strconv.FormatInt(now.size, 10))
	add("mtime", was.modified.String(), now.modified.String())
	add("ctime", was.changed.String(), now.changed.String())
	if len(changes) > 0 {
		add("number of links", strconv.FormatUint(uint64(was.links), 10), strconv.FormatUint(uint64(now.links), 10))
	}
	return changes
}

func (m moment) String() string { return m.time().UTC().Format(time.RFC3339Nano) }

// etag returns the strong entity tag, in quotes.
func (was identity) etag() string {
	hex := func(n uint64) string { return strconv.FormatUint(n, 16) }
	stamp := func(m moment) string { return hex(uint64(m.seconds)) + "." + hex(uint64(m.nanoseconds)) }
	return `"` + hex(was.inode) + "-" + hex(uint64(was.size)) + "-" + stamp(was.modified) + "-" + stamp(was.changed) + `"`
}

// identify returns the identity of name in the folder of the descriptor fd.
func identify(fd int, name string, flags int) (identity, error) {
	// statx(2) has 64-bit sizes and times on 32-bit machines too.
	var s unix.Statx_t
	for {
		err := unix.Statx(fd, name, flags|unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS, &s)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return identity{}, os.NewSyscallError("statx", err)
		}
	}
	return identity{
		device:   uint64(s.Dev_major)<<32 | uint64(s.Dev_minor),
		inode:    s.Ino,
		size:     int64(s.Size),
		modified: moment{s.Mtime.Sec, s.Mtime.Nsec},
		changed:  moment{s.Ctime.Sec, s.Ctime.Nsec},
		links:    s.Nlink,
		mode:     s.Mode,
	}, nil
}

func (was identity) isRegular() bool { return was.mode&unix.S_IFMT == unix.S_IFREG }
func (was identity) isFolder() bool  { return was.mode&unix.S_IFMT == unix.S_IFDIR }
func (was identity) isLink() bool    { return was.mode&unix.S_IFMT == unix.S_IFLNK }

// openFlags: O_NONBLOCK, since opening a FIFO must not wait for its writer; O_LARGEFILE,
// since os.Root leaves it out, and 32-bit kernels then refuse files of 2 GiB.
const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_LARGEFILE

// errUncached is the error for what cannot be opened without waiting for storage.
var errUncached = errors.New("files: not in the kernel's cache")

// openCached opens name below the root if the kernel has all names of the path in its
// cache, and so the inode in memory. What it says of links that lead outside, and the
// like, is left to os.Root.
func (h *handler) openCached(name string) (*os.File, error) {
	if h.options.Folder == nil {
		return nil, errUncached
	}
	how := unix.OpenHow{
		Flags:   openFlags | unix.O_CLOEXEC,
		Resolve: resolveCached | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(int(h.options.Folder.Fd()), name, &how)
	switch err {
	case nil:
		// In blocking mode Go does not take it for a thing to poll.
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("fcntl", err)
		}
		return os.NewFile(uintptr(fd), name), nil
	case unix.ENOENT: // known not to exist
		return nil, &fs.PathError{Op: "openat2", Path: name, Err: err}
	}
	// EAGAIN: it is not there. ENOSYS, EPERM or EINVAL: something between here and the
	// kernel does not know this call; then nothing is known.
	return nil, errUncached
}

// open opens name below the root: either a file, with one holder, or a folder,
// which the caller closes. It waits for a file that was changed just now, see
// settled. Unless wait is true it does not wait for storage, and the error for what is
// not cached is errUncached.
func (h *handler) open(ctx context.Context, name string, wait bool) (file *File, folder *os.File, err error) {
	var f *os.File
	if wait {
		f, err = h.root.OpenFile(name, openFlags, 0)
	} else {
		f, err = h.openCached(name)
	}
	if err != nil {
		return nil, nil, err
	}
	fd := int(f.Fd())
	stat, err := h.settled(ctx, fd)
	switch {
	case err != nil:
	case stat.isFolder():
		return nil, f, nil
	case !stat.isRegular():
		err = &fs.PathError{Op: "open", Path: name, Err: errNotServed}
	case wait:
		// io_uring fails a read that would wait with EAGAIN if the file is in
		// non-blocking mode and its file system cannot tell (io_rw_init_file in
		// io_uring/rw.c).
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	file = &File{file: f, fd: fd, name: name, stat: stat, identify: h.system.identify}
	file.holders.Store(1)
	return file, nil, nil
}
