package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errNotServed is the error for a path that exists but is neither a regular file nor a
// directory.
var errNotServed = errors.New("files: neither a regular file nor a directory")

// pathSize is the file size in bytes up to which the path of an open file is not read:
// reading it costs a system call for each request, and such a file is read and checked within
// milliseconds. The number of links still shows that the file was replaced or removed.
const pathSize = 64 << 10

// openFlags has O_NONBLOCK, since opening a FIFO must not wait for its writer, and
// O_LARGEFILE, since os.Root omits it and 32-bit kernels then refuse files of 2 GiB.
const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_LARGEFILE

// errUncached is the error for a file that cannot be opened without waiting for storage.
var errUncached = errors.New("files: not in the kernel's cache")

// A caller is the part of a request that open and settled need.
type caller struct {
	ctx context.Context
	// postpone arranges for another call, as http1.Postpone does.
	postpone func(d time.Duration) (ok, supported bool)
}

// openCached opens name below the root if the kernel has all components of the path in its
// dentry cache, and therefore the inode in memory. For a link that leads outside, and similar
// failures, it returns errUncached and leaves the verdict to os.Root; likewise for other file
// systems that are mounted below the root.
func (h *handler) openCached(name string) (*os.File, error) {
	if h.options.Directory == nil || !h.local {
		return nil, errUncached
	}
	how := unix.OpenHow{
		Flags:   openFlags | unix.O_CLOEXEC,
		Resolve: resolveCached | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(int(h.options.Directory.Fd()), name, &how)
	switch err {
	case nil:
		// In blocking mode Go does not add the descriptor to its poller.
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("fcntl", err)
		}
		return os.NewFile(uintptr(fd), name), nil
	case unix.ENOENT: // known not to exist
		return nil, &fs.PathError{Op: "openat2", Path: name, Err: err}
	}
	// EAGAIN: not cached. EXDEV: another file system. ENOSYS, EPERM or EINVAL: the kernel, or a
	// filter in front of it, does not know this call; then nothing is known.
	return nil, errUncached
}

// open opens name below the root: either a file, with one holder, or a directory,
// which the caller closes. It waits for a file that has just been changed, see
// settled. Unless mayBlock is true it does not wait for storage, and the error for a file that is
// not cached is errUncached.
func (h *handler) open(c caller, name string, mayBlock bool) (file *File, dir *os.File, err error) {
	var f *os.File
	if mayBlock {
		f, err = h.root.OpenFile(name, openFlags, 0)
	} else {
		f, err = h.openCached(name)
	}
	if err != nil {
		return nil, nil, err
	}
	fd := int(f.Fd())
	stat, err := h.settled(c, fd)
	switch {
	case err != nil:
	case stat.isDirectory():
		return nil, f, nil
	case !stat.isRegular():
		err = &fs.PathError{Op: "open", Path: name, Err: errNotServed}
	case mayBlock:
		// io_uring fails a read that would wait with EAGAIN if the file is in
		// non-blocking mode and its file system does not support nowait reads
		// (io_rw_init_file in io_uring/rw.c).
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	file = &File{file: f, fd: fd, name: name, stat: stat, origin: h.system.origin(fd, stat), system: h.system}
	file.local = h.local && stat.device == h.device
	file.accepted = place{changed: stat.changed, links: stat.links}
	if stat.size > pathSize {
		file.accepted.path = h.system.path(fd)
	}
	file.holders.Store(1)
	return file, nil, nil
}
