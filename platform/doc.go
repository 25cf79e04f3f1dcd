// Package platform probes the machine and the running kernel for the features that an HTTPS
// server uses: io_uring, kernel TLS and its ciphers, the crypto driver that a kernel TLS
// connection would use, the board and its crypto engines.
//
// A probe reports; it decides nothing and sets nothing. But it can make the kernel load modules on
// demand: crypto drivers for any process, the tls module for CAP_NET_ADMIN, so a probe by root may
// succeed right after a probe by the service has failed. Each probe uses the feature
// itself (it makes and uses a ring like the service's, and switches kernel TLS on for
// a connection over the loopback interface) instead of comparing version numbers,
// because distributors backport, builds omit options, and sysctls, seccomp filters and
// missing modules forbid features that a version promises. The exception is a defect
// for which no test exists without the risk of memory corruption (see
// [Report.Restricted]). The order matters too: template drivers such as
// gcm_base(ctr-aes-caam,ghash-neon) appear in /proc/crypto only after their first use,
// so the list of algorithms is read after the kernel TLS probe.
//
// An answer is yes, no or inconclusive. Inconclusive means that the probe could not
// run (no file descriptor left, no memory, no loopback interface); do not store it,
// probe again.
//
// To debug a surprising answer, compare the output of
// strace -f -e io_uring_setup,io_uring_register,io_uring_enter,setsockopt
// with the reasons here, and read /proc/crypto,
// /proc/sys/net/ipv4/tcp_available_ulp and the kernel's log.
package platform
