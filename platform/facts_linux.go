package platform

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxFactBytes bounds the bytes read of any file; modules.dep of a distribution's
// kernel has about 1 MiB.
const maxFactBytes = 8 << 20

// status holds fields of /proc/self/status. The zero value means that nothing is known.
type status struct {
	capEff  uint64 // bit set of effective capabilities
	seccomp int    // 0 none, 1 strict, 2 filter
}

func (s status) has(capability int) bool { return s.capEff>>capability&1 == 1 }

func readStatus() status {
	var s status
	eachLine("/proc/self/status", func(line string) bool {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "CapEff":
			s.capEff, _ = strconv.ParseUint(value, 16, 64) // 0 (none) if it does not parse
		case "Seccomp":
			s.seccomp, _ = strconv.Atoi(value)
		}
		return true
	})
	return s
}

// HasNetAdmin reports whether this process has CAP_NET_ADMIN, with which it may change the kernel's
// crypto drivers and load kernel modules on demand.
func HasNetAdmin() bool { return readStatus().has(capNetAdmin) }

// readInt returns the number in the first line of a file, or missing.
func readInt(path string, missing int) int {
	n := missing
	eachLine(path, func(line string) bool {
		if v, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			n = v
		}
		return false
	})
	return n
}

// eachLine calls f with the lines of a file until f returns false. A file that cannot
// be read counts as empty, since these facts only refine an answer.
func eachLine(path string, f func(line string) bool) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	scanner := bufio.NewScanner(io.LimitReader(file, maxFactBytes))
	for scanner.Scan() {
		if !f(scanner.Text()) {
			return
		}
	}
}
