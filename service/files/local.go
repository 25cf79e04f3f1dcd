package files

import "golang.org/x/sys/unix"

// File system magic numbers that golang.org/x/sys/unix does not have, from the sources of the
// file systems.
const (
	cephMagic   = 0x00c36400 // fs/ceph/super.h
	lustreMagic = 0x0bd00bd0 // LL_SUPER_MAGIC of Lustre
	vboxsfMagic = 0x786f4256 // include/uapi/linux/magic.h
)

// localDevice returns the device of a directory, and reports whether its file system is local
// to this machine: not a network file system, and not implemented by another program (FUSE).
// On those, even names and attributes that the kernel has in memory may need a wait.
func localDevice(fd int) (device uint64, local bool) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(fd, &s); err != nil {
		return 0, false
	}
	switch uint32(s.Type) { // s.Type is signed on 32-bit machines
	case unix.NFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
		unix.SMB_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC,
		unix.OCFS2_SUPER_MAGIC, cephMagic, lustreMagic, vboxsfMagic:
		return 0, false
	}
	is, err := identify(fd, "", unix.AT_EMPTY_PATH)
	return is.device, err == nil
}
