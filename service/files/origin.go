package files

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The timestamps of a file in an image are those that the tool which made the image wrote. Two
// images can have another content in a file of the same inode, size, mtime and ctime: tools
// set all times to one date (SOURCE_DATE_EPOCH), and some file systems have no ctime. Into
// the tag of such a file goes its origin: the image as this kernel knows it.
// docs/decisions/0014-images.md has the reasons and limits.

// An origin tells images apart that a file system's own attributes do not. The zero value is
// that of a file whose ctime comes from a kernel.
type origin struct {
	hash  string // 16 hexadecimal digits; "" if the identity suffices
	image bool   // all dates are a tool's, and may be the same in the next image
}

// An originSource is what the kernel is asked about where a file comes from. Tests have their
// own.
type originSource struct {
	// read returns the content of a small file of proc or sysfs.
	read func(name string) (string, error)
	// statfs returns the magic number of a descriptor's file system, and whether it is mounted
	// read-only, if only in this mount namespace.
	statfs func(fd int) (kind uint32, readOnly bool, err error)
	// mountID returns the number of the mount that a descriptor was opened through.
	mountID func(fd int) (uint64, error)
	// process stands for what cannot be read: a number that no other process has.
	process string
}

func kernelOrigin() originSource {
	return originSource{read: readSmall, statfs: statfs, mountID: mountID, process: rand.Text()}
}

// of returns the origin of an open regular file. Nothing is read unless its ctime may not come
// from a kernel. It does not wait for a disk; statfs(2) may wait for a network, as opening the
// file there does.
func (s originSource) of(fd int, stat identity) origin {
	whole := stat.changed.nanoseconds == 0 // tools write whole seconds
	// Where no ctime is kept, the kernel shows mtime in its place.
	if !whole && stat.changed != stat.modified {
		return origin{}
	}
	kind, readOnly, err := s.statfs(fd)
	if err != nil || !whole && !isImage(kind) && kind != unix.UDF_SUPER_MAGIC && kind != unix.FUSE_SUPER_MAGIC {
		return origin{}
	}
	major, minor := stat.device>>32, stat.device&0xffffffff
	fixed := isImage(kind) || readOnly && s.superReadOnly(major, minor) // nobody writes to it

	boot, err := s.read("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = s.process
	}
	parts := []string{boot, strconv.FormatUint(major, 10), strconv.FormatUint(minor, 10)}
	sequence := ""
	if major != 0 {
		disk := "/sys/dev/block/" + deviceNumber(major, minor)
		sequence = s.sequence(disk)
		if fixed {
			parts = append(parts, "written", s.written(disk))
		}
	}
	if sequence != "" {
		parts = append(parts, "disk", sequence)
	} else {
		parts = append(parts, "mount", s.mount(fd))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	// What is below these two is not known, and is an image more often than not.
	below := kind == unix.OVERLAYFS_SUPER_MAGIC || kind == unix.FUSE_SUPER_MAGIC
	return origin{hex.EncodeToString(sum[:8]), fixed || below}
}

// isImage reports whether Linux only reads file systems of that kind: a tool has written them,
// and there is no ctime of a kernel in them.
func isImage(kind uint32) bool {
	switch kind {
	case unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1, unix.ISOFS_SUPER_MAGIC, unix.CRAMFS_MAGIC, romfsMagic:
		return true
	}
	return false
}

// sequence returns the number of the medium in a block device, which no other has since the
// kernel was started, or "" before Linux 5.15. A partition has that of its disk.
func (s originSource) sequence(disk string) string {
	for _, name := range []string{"/diskseq", "/../diskseq"} {
		if text, err := s.read(disk + name); err == nil {
			return text
		}
	}
	return ""
}

// written returns how many sectors of a block device were written since it came: field 7 of
// Documentation/block/stat.rst. While a read-only file system is mounted there are none.
func (s originSource) written(disk string) string {
	text, err := s.read(disk + "/stat")
	if fields := strings.Fields(text); err == nil && len(fields) >= 7 {
		return fields[6]
	}
	return ""
}

// mount returns the number of the mount, for a file system without a device of its own.
func (s originSource) mount(fd int) string {
	id, err := s.mountID(fd)
	if err != nil {
		return s.process
	}
	return strconv.FormatUint(id, 10)
}

// superReadOnly reports whether the file system of a device is read-only in all mounts. Of a
// descriptor's own mount that would say nothing: systemd's ProtectSystem=strict makes all of
// them read-only for the service, and others go on writing.
func (s originSource) superReadOnly(major, minor uint64) bool {
	mounts, err := s.read("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	number := deviceNumber(major, minor)
	for line := range strings.SplitSeq(mounts, "\n") {
		// 36 35 8:1 /root /mnt rw,noatime master:1 - ext4 /dev/root ro,errors=continue
		mount, super, ok := strings.Cut(line, " - ")
		fields, options := strings.Fields(mount), strings.Fields(super)
		if !ok || len(fields) < 3 || fields[2] != number || len(options) < 3 {
			continue
		}
		return strings.HasPrefix(options[2]+",", "ro,")
	}
	return false
}

func deviceNumber(major, minor uint64) string {
	return strconv.FormatUint(major, 10) + ":" + strconv.FormatUint(minor, 10)
}

// maxSmall bounds what is read of a file of proc or sysfs, in bytes: of a machine with more
// mounts than fit, the rest is not looked at.
const maxSmall = 64 << 10

// readSmall returns the content of a file without the line's end, cut to maxSmall. It does not
// clean the name: ".." leads out of what a link leads to.
func readSmall(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err == nil && len(text) == 0 {
		err = errors.New("files: " + name + " is empty")
	}
	return strings.TrimSuffix(string(text), "\n"), err
}

func statfs(fd int) (kind uint32, readOnly bool, err error) {
	var s unix.Statfs_t
	for {
		err = unix.Fstatfs(fd, &s)
		if err != unix.EINTR {
			break
		}
	}
	// Both are signed on some machines, and of 32 or 64 bits.
	return uint32(s.Type), uint64(s.Flags)&unix.ST_RDONLY != 0, os.NewSyscallError("fstatfs", err)
}

// mountID returns a number that is never used again, or before Linux 6.8 one that is.
func mountID(fd int) (uint64, error) {
	var s unix.Statx_t
	const mask = unix.STATX_MNT_ID | unix.STATX_MNT_ID_UNIQUE
	for {
		err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, mask, &s)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("statx", err)
		case s.Mask&mask == 0: // before Linux 5.8
			return 0, errors.ErrUnsupported
		default:
			return s.Mnt_id, nil
		}
	}
}
