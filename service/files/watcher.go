package files

import (
	"encoding/binary"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A watcher reports changes of names in watched directories, and changes of mounts.
type watcher struct {
	inotify int
	mounts  int // /proc/self/mountinfo
	holders atomic.Int32
	polled  [2]unix.PollFd
	timeout unix.Timespec // 0

	// watch watches an open directory, and returns its watch descriptor. look returns a
	// descriptor for a name in a directory, which opens neither a device nor a link's target.
	// Tests substitute their own.
	watch func(directory int) (int32, error)
	look  func(directory int, name string) (int, error)
}

func newWatcher() (*watcher, error) {
	inotify, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	mounts, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(inotify)
		return nil, &os.PathError{Op: "open", Path: "/proc/self/mountinfo", Err: err}
	}
	n := &watcher{inotify: inotify, mounts: mounts, look: look}
	n.polled = [2]unix.PollFd{{Fd: int32(inotify), Events: unix.POLLIN}, {Fd: int32(mounts), Events: unix.POLLPRI}}
	n.watch = n.add
	n.holders.Store(1)
	return n, nil
}

// acquire adds a holder. Another holder must exist.
func (n *watcher) acquire() { n.holders.Add(1) }

// close removes a holder, and closes the descriptors if it was the last one.
func (n *watcher) close() {
	if n.holders.Add(-1) == 0 {
		unix.Close(n.inotify)
		unix.Close(n.mounts)
	}
}

// poll reports whether there are events to read, and whether a mount of this mount namespace has
// changed since the last call: mounts_poll in fs/proc_namespace.c. It does not wait.
func (n *watcher) poll() (events, mounted bool) {
	for {
		n.polled[0].Revents, n.polled[1].Revents = 0, 0
		_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&n.polled)), uintptr(len(n.polled)),
			uintptr(unsafe.Pointer(&n.timeout)), 0, 0, 0)
		switch errno {
		case 0:
			return n.polled[0].Revents != 0, n.polled[1].Revents&(unix.POLLERR|unix.POLLPRI) != 0
		case unix.EINTR:
		default:
			return true, true // nothing is known
		}
	}
}

// read reads events. It returns 0 if there are none. It does not wait.
func (n *watcher) read(buf []byte) (int, error) {
	for {
		r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(n.inotify), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch errno {
		case 0:
			return int(r), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// add watches an open directory. The path names the open directory itself, not a name that may
// have changed.
func (n *watcher) add(directory int) (int32, error) {
	wd, err := unix.InotifyAddWatch(n.inotify, "/proc/self/fd/"+strconv.Itoa(directory), watchMask)
	return int32(wd), os.NewSyscallError("inotify_add_watch", err)
}

// remove removes a watch. The error for a watch that the kernel has removed is ignored. Descriptors
// are not reused before all 2^31 have been used (idr_alloc_cyclic).
func (n *watcher) remove(wd int32) { unix.InotifyRmWatch(n.inotify, uint32(wd)) }

func look(directory int, name string) (int, error) {
	return unix.Openat2(directory, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		// RESOLVE_NO_SYMLINKS allows O_PATH|O_NOFOLLOW to return the link itself.
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS,
	})
}

// An event is a struct inotify_event.
type event struct {
	watch int32
	mask  uint32
	name  []byte // empty: the directory itself
}

// nextEvent returns the first event of buf and the rest. ok is false if buf is malformed.
func nextEvent(buf []byte) (e event, rest []byte, ok bool) {
	if len(buf) < eventSize {
		return event{}, nil, false
	}
	order := binary.NativeEndian
	length := uint64(order.Uint32(buf[12:]))
	if length > uint64(len(buf)-eventSize) {
		return event{}, nil, false
	}
	e = event{watch: int32(order.Uint32(buf)), mask: order.Uint32(buf[4:]), name: buf[eventSize : eventSize+length]}
	for len(e.name) > 0 && e.name[len(e.name)-1] == 0 { // padding
		e.name = e.name[:len(e.name)-1]
	}
	return e, buf[eventSize+length:], true
}

// reportsNames reports whether the file system of a directory is known to report each change of
// a name with the name that a lookup used. A file system that ignores case, such as FAT, reports
// the name that the other process used. overlayfs reports changes made through it; changes below
// it are forbidden while it is mounted (Documentation/filesystems/overlayfs.rst). The others are
// not known, or may be changed by another machine.
func reportsNames(directory *os.File) bool {
	kind, _, err := statfs(int(directory.Fd()))
	return err == nil && exactNames(kind)
}

// exactNames is reportsNames for a file system type of statfs(2).
func exactNames(kind uint32) bool {
	switch kind {
	case unix.EXT4_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC,
		unix.RAMFS_MAGIC, unix.JFFS2_SUPER_MAGIC, ubifsMagic, unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1,
		unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false
}

// ignoresCase reports whether lookups in an open directory ignore case, as ext4, f2fs and tmpfs can
// do for single directories, or whether that is not known. A file system without flags does not.
func ignoresCase(directory int) bool {
	flags, err := unix.IoctlGetUint32(directory, unix.FS_IOC_GETFLAGS)
	switch err {
	case nil:
		return flags&casefoldFlag != 0
	case unix.ENOTTY, unix.EOPNOTSUPP:
		return false
	}
	return true
}
