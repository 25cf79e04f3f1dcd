//go:build linux

package uring

import (
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LimitWorkers sets the maximum numbers of the kernel's bounded and unbounded worker
// threads, which the package comment describes. An operation that finds no free worker
// waits for one, in order of arrival. 0 leaves a limit unchanged. LimitWorkers returns
// the previous limits. The error is a *FeatureError if the kernel refuses, and wraps
// os.ErrInvalid for a negative or too large number and os.ErrClosed after Close. The
// limits apply to the calling thread, for all its rings; before Linux 6.4 they apply to
// each NUMA node separately.
//
// An operation that never ends occupies its worker. When all workers of a kind are
// occupied, no other operation of that kind proceeds: a program that limits the workers
// must also limit the operations that may wait for long.
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
