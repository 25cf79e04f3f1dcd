package files

import (
	"errors"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

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

// changes returns a description of each attribute that differs, without ctime and the number
// of links.
func (was identity) changes(now identity) []string {
	var changes []string
	add := func(name, from, to string) {
		if from != to {
			changes = append(changes, name+" was "+from+", is "+to)
		}
	}
	add("device", strconv.FormatUint(was.device, 16), strconv.FormatUint(now.device, 16))
	add("inode", strconv.FormatUint(was.inode, 10), strconv.FormatUint(now.inode, 10))
	add("size", strconv.FormatInt(was.size, 10), strconv.FormatInt(now.size, 10))
	add("mtime", was.modified.String(), now.modified.String())
	return changes
}

func (m moment) String() string { return m.time().UTC().Format(time.RFC3339Nano) }

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
	return identityOf(&s), nil
}

// emptyPath is the empty path of statx(2).
var emptyPath byte

// identifyOpen is identify for an open file, with the attributes that the kernel has in memory,
// without an allocation. It is not announced to the scheduler as a call that may wait: use it for
// local file systems only.
func identifyOpen(fd int, room *unix.Statx_t) (is identity, ok bool) {
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(&emptyPath)),
			unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(room)), 0)
		switch errno {
		case 0:
			return identityOf(room), true
		case unix.EINTR:
		default:
			return identity{}, false
		}
	}
}

func identityOf(s *unix.Statx_t) identity {
	return identity{
		device:   uint64(s.Dev_major)<<32 | uint64(s.Dev_minor),
		inode:    s.Ino,
		size:     int64(s.Size),
		modified: moment{s.Mtime.Sec, s.Mtime.Nsec},
		changed:  moment{s.Ctime.Sec, s.Ctime.Nsec},
		links:    s.Nlink,
		mode:     s.Mode,
	}
}

func (was identity) isRegular() bool   { return was.mode&unix.S_IFMT == unix.S_IFREG }
func (was identity) isDirectory() bool { return was.mode&unix.S_IFMT == unix.S_IFDIR }
func (was identity) isLink() bool      { return was.mode&unix.S_IFMT == unix.S_IFLNK }
