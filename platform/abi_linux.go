package platform

// This file holds the kernel ABI that this package uses.

// include/uapi/linux/capability.h
const (
	capNetAdmin = 12 // CAP_NET_ADMIN
	capSysAdmin = 21 // CAP_SYS_ADMIN
)

// seccompFilter is SECCOMP_MODE_FILTER of include/uapi/linux/seccomp.h, the value on the
// "Seccomp:" line of /proc/self/status.
const seccompFilter = 2
