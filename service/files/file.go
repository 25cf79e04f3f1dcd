package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// errNotServed is the error for a path that exists but is neither a regular file nor a
// directory.
var errNotServed = errors.New("files: neither a regular file nor a directory")

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

// place is the state of a file's names, and the ctime that belongs to it.
type place struct {
	changed moment
	links   uint32
	path    string // from the kernel, see descriptorPath; "" if unknown
	other   bool   // another number of links was seen with the same ctime, within one tick
}

// doubt is how long a change of ctime may stay without explanation. File systems set ctime
// before or after the number of links, and the kernel changes the path after both, so a check
// in between sees one change without the other.
const doubt = 20 * time.Millisecond

// identity holds the attributes that distinguish a file from any other file, and from itself
// after a change.
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

// Acquire adds a holder. It panics if the last holder has already released the file: the
// caller must know that another holder still exists.
func (f *File) Acquire() {
	if f.holders.Add(1) <= 1 {
		panic("files: Acquire of the closed file " + f.name)
	}
}

// Release removes a holder, obtained from New or Acquire, and closes the file if it was the
// last one.
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

// Unchanged returns nil if the file still has the bytes that it had when it was opened, else
// an error that names the attributes that changed. The bytes are taken to be the same if
// device, inode, size, mtime and ctime are the same. A ctime that changed together with the
// number of links, or with the path of the open file, is accepted: the file was replaced by a
// rename, renamed, removed, or got or lost a hard link, and none of that touches its bytes.
// The next call compares with the new state. A change of ctime alone is a change of the file:
// a write whose mtime was set back, or new permissions.
//
// Unchanged may wait for the file system, or for the network that it is on, and some
// milliseconds if ctime alone has changed. See the package comment, Validators, for changes
// that it cannot detect.
func (f *File) Unchanged() error {
	for {
		decided, err := f.check(f.system.identify)
		if decided || err != nil {
			return err
		}
		if err := f.system.wait(context.Background(), doubt/4); err != nil {
			return err
		}
	}
}

// UnchangedNow is Unchanged with the attributes that the kernel has in memory. It never waits:
// for a file on a network file system its result may be seconds old, and it reports a change
// of ctime alone only if an earlier call saw that change some milliseconds before.
func (f *File) UnchangedNow() error {
	_, err := f.check(f.system.identifyNow)
	return err
}

// Check is Unchanged without its waits for an explanation of ctime: if decided is false, the
// caller must call again some milliseconds later. If wait is false, it uses the attributes in
// memory like UnchangedNow, and does not wait for the file system either.
func (f *File) Check(wait bool) (decided bool, err error) {
	if wait {
		return f.check(f.system.identify)
	}
	return f.check(f.system.identifyNow)
}

// check returns an error if the file has changed. If decided is false, so far only ctime has
// changed.
func (f *File) check(identify func(fd int) (identity, error)) (decided bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := identify(f.fd)
	if err != nil {
		return false, fmt.Errorf("files: %s: %w", f.name, err)
	}
	changes := f.stat.changes(now)
	if now.changed != f.accepted.changed {
		if len(changes) == 0 {
			switch moved, err := f.moved(now, identify); {
			case err != nil:
				return false, fmt.Errorf("files: %s: %w", f.name, err)
			case moved:
				return true, nil
			case f.doubted.IsZero():
				f.doubted = time.Now()
				return false, nil
			case time.Since(f.doubted) < doubt:
				return false, nil
			}
		}
		changes = append(changes, "ctime was "+f.accepted.changed.String()+", is "+now.changed.String())
	}
	if len(changes) == 0 {
		f.accepted.other = f.accepted.other || now.links != f.accepted.links
		return true, nil
	}
	return true, fmt.Errorf("files: %s changed since it was opened: %s", f.name, strings.Join(changes, ", "))
}

// moved reports whether a change of the file's names explains the ctime of now, and if so
// accepts the new names. The caller holds f.mu.
func (f *File) moved(now identity, identify func(fd int) (identity, error)) (bool, error) {
	const maxTries = 4 // a file that is renamed all the time
	for range maxTries {
		path := f.accepted.path
		if path != "" {
			if p := f.system.path(f.fd); p != "" {
				path = p
			}
		}
		// A rename after the first identify would leave a path that belongs to a later
		// ctime, and the next call would not know the reason for that ctime.
		again, err := identify(f.fd)
		if err != nil {
			return false, err
		}
		if again != now {
			if len(f.stat.changes(again)) > 0 {
				return false, nil
			}
			now = again
			continue
		}
		if now.links == f.accepted.links && !f.accepted.other && path == f.accepted.path {
			return false, nil
		}
		f.accepted = place{changed: now.changed, links: now.links, path: path}
		f.doubted = time.Time{}
		return true, nil
	}
	return false, nil
}

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

// changes returns a description of each attribute that differs, without ctime and the number
// of links.
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
	return changes
}

func (m moment) String() string { return m.time().UTC().Format(time.RFC3339Nano) }

// etag returns the strong entity tag, in quotes.
func (f *File) etag() string {
	tag := f.stat.etag()
	if f.origin.hash != "" {
		tag = tag[:len(tag)-1] + "-" + f.origin.hash + `"`
	}
	return tag
}

// etag returns the strong entity tag of a file whose ctime comes from a kernel, in quotes.
func (was identity) etag() string {
	hex := func(n uint64) string { return strconv.FormatUint(n, 16) }
	stamp := func(m moment) string { return hex(uint64(m.seconds)) + "." + hex(uint64(m.nanoseconds)) }
	return `"` + hex(was.inode) + "-" + hex(uint64(was.size)) + "-" + stamp(was.modified) + "-" + stamp(was.changed) + `"`
}

// descriptorPath returns the path by which the kernel knows the open file of a
// descriptor, or "" if it cannot be read. The path follows renames, and ends in " (deleted)"
// once that name is removed, though other links may remain (d_path in fs/d_path.c). The
// kernel does not access the file system for it.
func descriptorPath(fd int) string {
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return ""
	}
	return path
}

// identify returns the identity of name in the directory of the descriptor fd. Without
// AT_STATX_DONT_SYNC in flags it is as current as the result of stat(2).
func identify(fd int, name string, flags int) (identity, error) {
	// statx(2) has 64-bit sizes and times on 32-bit machines too.
	var s unix.Statx_t
	for {
		err := unix.Statx(fd, name, flags, unix.STATX_BASIC_STATS, &s)
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

func (was identity) isRegular() bool   { return was.mode&unix.S_IFMT == unix.S_IFREG }
func (was identity) isDirectory() bool { return was.mode&unix.S_IFMT == unix.S_IFDIR }
func (was identity) isLink() bool      { return was.mode&unix.S_IFMT == unix.S_IFLNK }

// pathSize is the file size in bytes up to which the path of an open file is not read:
// reading it costs a system call for each request, and such a file is read and checked within
// milliseconds. The number of links still shows that the file was replaced or removed.
const pathSize = 64 << 10

// openFlags has O_NONBLOCK, since opening a FIFO must not wait for its writer, and
// O_LARGEFILE, since os.Root omits it and 32-bit kernels then refuse files of 2 GiB.
const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_LARGEFILE

// errUncached is the error for a file that cannot be opened without waiting for storage.
var errUncached = errors.New("files: not in the kernel's cache")

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
// settled. Unless wait is true it does not wait for storage, and the error for a file that is
// not cached is errUncached.
func (h *handler) open(r *http.Request, name string, wait bool) (file *File, dir *os.File, err error) {
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
	stat, err := h.settled(r, fd)
	switch {
	case err != nil:
	case stat.isDirectory():
		return nil, f, nil
	case !stat.isRegular():
		err = &fs.PathError{Op: "open", Path: name, Err: errNotServed}
	case wait:
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
