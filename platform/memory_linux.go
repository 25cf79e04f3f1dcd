package platform

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TCPMemory is how many bytes TCP may use for all sockets before it is under pressure,
// drops what it received, and gives each socket a share alone: the second number of
// net.ipv4.tcp_mem (ip-sysctl.rst). A network namespace does not see it: there it is a
// sixteenth of memory, as the kernel has it at boot (tcp_init_mem in net/ipv4/tcp.c).
func TCPMemory() (int64, error) { return tcpMemory("/proc/sys/net/ipv4/tcp_mem") }

func tcpMemory(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return 0, fmt.Errorf("platform: %w", os.NewSyscallError("sysinfo", err))
		}
		return int64(info.Totalram) * int64(info.Unit) / 16, nil
	}
	f := strings.Fields(string(text))
	if len(f) != 3 {
		return 0, fmt.Errorf("platform: %s: three numbers expected, found %q", path, text)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("platform: %s: %w", path, err)
	}
	return pages * int64(os.Getpagesize()), nil
}
