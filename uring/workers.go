//go:build linux

package uring

import (
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LimitWorkers bounds how many threads the kernel makes for operations that it
// cannot do at once, of each kind; the package's comment says what they do. What
// finds no thread waits for one, in the order it came. 0 leaves a number as it is. It returns
// the numbers that held before. The error is a *FeatureError where the kernel refuses. The limits are those of the calling thread, for all
// its rings, and hold for each NUMA node before Linux 6.4.
//
// An operation that never ends keeps its thread. When all of a kind are kept, no
// other operation of that kind goes on: a program that limits them limits what may
// wait for long, too.
func (r *Ring) LimitWorkers(bounded, unbounded int) (wasBounded, wasUnbounded int, err error) {
	if bounded < 0 || unbounded < 0 || int64(max(bounded, unbounded)) > math.MaxInt32 {
		return 0, 0, fmt.Errorf("uring: %d and %d workers: %w", bounded, unbounded, os.ErrInvalid)
	}
	if r.closed() {
		return 0, 0, errClosed
	}
	w := maxWorkers{uint32(bounded), uint32(unbounded)}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerMaxWorkers,
		uintptr(unsafe.Pointer(&w)), uintptr(len(w)), 0, 0)
	if errno != 0 {
		return 0, 0, &FeatureError{"IORING_REGISTER_IOWQ_MAX_WORKERS", "io_uring_register", errno}
	}
	return int(w[0]), int(w[1]), nil
}
