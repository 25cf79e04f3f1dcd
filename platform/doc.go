// Package platform asks the running kernel what it can do for a server of
// HTTPS: io_uring, kernel TLS and its ciphers, and which implementation of them
// a kernel TLS connection would use.
//
// It asks and reports; it decides nothing and sets nothing. Asking can make the
// kernel load modules on demand: crypto drivers for anybody, the tls module for
// CAP_NET_ADMIN, so that root may hear yes right after the service heard no. Each
// answer comes from doing the thing (a ring like the service's is made and used, kernel TLS is switched
// on for a connection from the machine to itself), never from a version
// number, because distributors backport, builds leave things out, and sysctls,
// seccomp filters and missing modules forbid what a version promises. The exception
// is a defect that a test cannot look for without the risk of memory corruption
// (see [Report.Restricted]). The
// order matters too: templates such as gcm_base(ctr-aes-caam,ghash-neon) stand
// in /proc/crypto only once somebody used them, so the list of algorithms is
// read after the kernel TLS probe.
//
// An answer is yes, no or inconclusive. Inconclusive means that the question
// could not be put (no file descriptor left, no memory, no loopback); do not
// store it, ask again.
//
// To debug a surprising answer, compare strace -f -e io_uring_setup,io_uring_register,io_uring_enter,setsockopt
// with the reasons here, and read /proc/crypto,
// /proc/sys/net/ipv4/tcp_available_ulp and the kernel's log.
package platform
