package files

import "golang.org/x/sys/unix"

// resolveCached is RESOLVE_CACHED of include/uapi/linux/openat2.h, Linux 5.12: the lookup
// uses the dentry cache only and does not wait for storage.
const resolveCached = 0x20

// romfsMagic is ROMFS_MAGIC of include/uapi/linux/romfs_fs.h, a file system type as
// statfs(2) returns it.
const romfsMagic = 0x7275

// ubifsMagic is UBIFS_SUPER_MAGIC of include/uapi/linux/magic.h, a file system type as
// statfs(2) returns it.
const ubifsMagic = 0x24051905

// casefoldFlag is FS_CASEFOLD_FL of include/uapi/linux/fs.h: names in the directory are equal if
// they differ in case only.
const casefoldFlag = 0x40000000

// watchMask selects the events of a watched directory, from include/uapi/linux/inotify.h. The
// kernel adds IN_UNMOUNT, IN_IGNORED and IN_Q_OVERFLOW. IN_MASK_ADD is necessary: without it, a
// second watch of the same directory sets the mask to 0 for a moment, and the kernel reads it
// without a lock (inotify_update_existing_watch in fs/notify/inotify/inotify_user.c,
// send_to_group in fs/notify/fsnotify.c), so that an event may be lost.
const watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD

// eventSize is the size in bytes of struct inotify_event of include/uapi/linux/inotify.h without
// its name:
//
//	__s32 wd; __u32 mask; __u32 cookie; __u32 len; char name[len];
const eventSize = 16
