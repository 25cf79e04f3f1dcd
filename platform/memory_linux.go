package platform

import (
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TCPMemory returns the bytes that TCP may use for all sockets before it is under memory
// pressure, drops received data, and limits each socket to a share: the second number of
// net.ipv4.tcp_mem (ip-sysctl.rst). If the sysctl cannot be read, as in a network namespace,
// or exceeds a quarter of memory, TCPMemory returns a sixteenth of memory, which is about the
// kernel's default at boot (tcp_init_mem in net/ipv4/tcp.c).
func TCPMemory() int64 { return tcpMemory("/proc/sys/net/ipv4/tcp_mem", Memory()) }

// Memory returns the bytes of memory of this machine.
func Memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil { // sysinfo(2) has no error that applies here
		return math.MaxInt64
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// tcpMemory is TCPMemory with the path of the sysctl and the bytes of memory of the machine.
func tcpMemory(path string, all int64) int64 {
	pages, ok := int64(0), false
	eachLine(path, func(line string) bool {
		if f := strings.Fields(line); len(f) == 3 {
			n, err := strconv.ParseInt(f[1], 10, 64)
			pages, ok = n, err == nil
		}
		return false
	})
	page := int64(os.Getpagesize())
	if !ok || pages <= 0 || pages > all/4/page {
		return all / 16
	}
	return pages * page
}
