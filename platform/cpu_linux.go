package platform

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// userHZ is the number of ticks in a second in /proc/stat: USER_HZ is 100 on every architecture
// that this program supports.
const userHZ = 100

// CPUTime returns the time that all processors of the machine together have been busy since boot,
// with programs, the kernel and interrupts (proc(5), /proc/stat). The resolution is 10 ms.
func CPUTime() (time.Duration, error) {
	total, err := time.Duration(0), errors.New("platform: /proc/stat has no line for all processors")
	eachLine("/proc/stat", func(line string) bool {
		total, err = parseCPUTime(line)
		return false
	})
	return total, err
}

// parseCPUTime parses the line that begins with cpu: user, nice, system, idle, iowait, irq,
// softirq, and further fields that do not count as this machine's work.
func parseCPUTime(line string) (time.Duration, error) {
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return 0, fmt.Errorf("platform: /proc/stat begins with %q", line)
	}
	total := time.Duration(0)
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("platform: /proc/stat begins with %q", line)
		}
		total += time.Duration(n) * (time.Second / userHZ)
	}
	return total, nil
}
