package files

// resolveCached is RESOLVE_CACHED of include/uapi/linux/openat2.h, Linux 5.12: only what
// the cache of names answers without waiting.
const resolveCached = 0x20
