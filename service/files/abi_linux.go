package files

// resolveCached is RESOLVE_CACHED of include/uapi/linux/openat2.h, Linux 5.12: the lookup
// uses the dentry cache only and does not wait for storage.
const resolveCached = 0x20

// romfsMagic is ROMFS_MAGIC of include/uapi/linux/romfs_fs.h, a file system type as
// statfs(2) returns it.
const romfsMagic = 0x7275
