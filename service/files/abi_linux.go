package files

// resolveCached is RESOLVE_CACHED of include/uapi/linux/openat2.h, Linux 5.12: only what
// the cache of names answers without waiting.
const resolveCached = 0x20

// romfsMagic is ROMFS_MAGIC of include/uapi/linux/romfs_fs.h, the type of a file system in
// statfs(2).
const romfsMagic = 0x7275
