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

// The timestamps of a file in an image were written by the tool that made the image. Two
// images can have different content in a file with the same inode, size, mtime and ctime:
// tools set all timestamps to one date (SOURCE_DATE_EPOCH), and some file systems have no
// ctime. Therefore the entity tag of such a file includes its origin: the image as this kernel
// knows it. docs/decisions/0014-images.md has the reasons and limits.

// An origin distinguishes images that a file system's own attributes do not. The zero value
// is the origin of a file whose ctime comes from a kernel.
type origin struct {
	hash  string // 16 hexadecimal digits; "" if the identity suffices
	image bool   // all timestamps were set by a tool, and may be the same in the next image
}

// An originSource is the set of kernel interfaces that the origin of a file is read from.
// Tests substitute their own.
type originSource struct {
	// read returns the content of a small file in proc or sysfs.
	read func(name string) (string, error)
	// statfs returns the magic number of a descriptor's file system, and reports whether it is
	// mounted read-only, if only in this mount namespace.
	statfs func(fd int) (kind uint32, readOnly bool, err error)
	// mountID returns the ID of the mount that a descriptor was opened through.
	mountID func(fd int) (uint64, error)
	// process replaces values that cannot be read: a random text, unique to this process.
	process string
}

func kernelOrigin() originSource {
	return originSource{read: readSmall, statfs: statfs, mountID: mountID, process: rand.Text()}
}

// of returns the origin of an open regular file. It reads nothing unless the ctime may not
// come from a kernel. It does not wait for a disk; statfs(2) may wait for a network, as opening
// a file on a network file system does.
func (s originSource) of(fd int, stat identity) origin {
	whole := stat.changed.nanoseconds == 0 // tools write whole seconds
	// On a file system that stores no ctime, the kernel shows mtime in its place.
	if !whole && stat.changed != stat.modified {
		return origin{}
	}
	kind, readOnly, err := s.statfs(fd)
	if err != nil || !whole && !isImage(kind) && kind != unix.UDF_SUPER_MAGIC && kind != unix.FUSE_SUPER_MAGIC {
		return origin{}
	}
	major, minor := stat.device>>32, stat.device&0xffffffff
	fixed := isImage(kind) || readOnly && s.superReadOnly(major, minor) // not writable

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
	// The file systems below these two are unknown, and usually images.
	below := kind == unix.OVERLAYFS_SUPER_MAGIC || kind == unix.FUSE_SUPER_MAGIC
	return origin{hex.EncodeToString(sum[:8]), fixed || below}
}

// isImage reports whether Linux supports file systems of that kind for reading only: a tool
// has written them, so they hold no ctime set by a kernel.
func isImage(kind uint32) bool {
	switch kind {
	case unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1, unix.ISOFS_SUPER_MAGIC, unix.CRAMFS_MAGIC, romfsMagic:
		return true
	}
	return false
}

// sequence returns the sequence number (diskseq) of the medium in a block device, unique since
// the kernel was started, or "" before Linux 5.15. A partition has the number of its disk.
func (s originSource) sequence(disk string) string {
	for _, name := range []string{"/diskseq", "/../diskseq"} {
		if text, err := s.read(disk + name); err == nil {
			return text
		}
	}
	return ""
}

// written returns the number of sectors written to a block device since it appeared: field 7
// of Documentation/block/stat.rst. The number does not change while a read-only file system is
// mounted.
func (s originSource) written(disk string) string {
	text, err := s.read(disk + "/stat")
	if fields := strings.Fields(text); err == nil && len(fields) >= 7 {
		return fields[6]
	}
	return ""
}

// mount returns the mount ID, for a file system without a block device.
func (s originSource) mount(fd int) string {
	id, err := s.mountID(fd)
	if err != nil {
		return s.process
	}
	return strconv.FormatUint(id, 10)
}

// superReadOnly reports whether the file system of a device is read-only in all mounts. The
// flag of the descriptor's own mount is not sufficient: systemd's ProtectSystem=strict makes
// all mounts read-only for the service, while other processes still write.
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

// maxSmall is the largest number of bytes read from a file of proc or sysfs. On a machine with
// more mounts than fit, the rest is ignored.
const maxSmall = 64 << 10

// readSmall returns the content of a file without its trailing newline, truncated to maxSmall.
// It does not clean the name, so that ".." is the parent of a symbolic link's target.
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
	// Both fields are signed on some machines, and have 32 or 64 bits.
	return uint32(s.Type), uint64(s.Flags)&unix.ST_RDONLY != 0, os.NewSyscallError("fstatfs", err)
}

// mountID returns the mount ID that a descriptor was opened through. It is never reused, except
// before Linux 6.8. Before Linux 5.8 the error is errors.ErrUnsupported.
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
