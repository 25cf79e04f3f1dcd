//go:build linux

package uring

import (
	"testing"
	"unsafe"
)

// TestABI holds on every architecture, GOARCH=arm included, where a uint64
// aligns to 4 bytes.
func TestABI(t *testing.T) {
	for _, tc := range []struct {
		name      string
		got, want uintptr
	}{
		{"struct io_uring_sqe", unsafe.Sizeof(sqe{}), 64},
		{"sqe.off", unsafe.Offsetof(sqe{}.off), 8},
		{"sqe.addr", unsafe.Offsetof(sqe{}.addr), 16},
		{"sqe.len", unsafe.Offsetof(sqe{}.len), 24},
		{"sqe.opFlags", unsafe.Offsetof(sqe{}.opFlags), 28},
		{"sqe.user_data", unsafe.Offsetof(sqe{}.userData), 32},
		{"sqe.splice_fd_in", unsafe.Offsetof(sqe{}.spliceFdIn), 44},
		{"sqe.addr3", unsafe.Offsetof(sqe{}.addr3), 48},
		{"struct io_uring_cqe", unsafe.Sizeof(cqe{}), 16},
		{"cqe.res", unsafe.Offsetof(cqe{}.res), 8},
		{"struct io_sqring_offsets", unsafe.Sizeof(sqRingOffsets{}), 40},
		{"struct io_cqring_offsets", unsafe.Sizeof(cqRingOffsets{}), 40},
		{"struct io_uring_params", unsafe.Sizeof(params{}), 120},
		{"params.sq_off", unsafe.Offsetof(params{}.sqOff), 40},
		{"params.cq_off", unsafe.Offsetof(params{}.cqOff), 80},
		{"struct io_uring_getevents_arg", unsafe.Sizeof(getEventsArg{}), 24},
		{"getevents_arg.ts", unsafe.Offsetof(getEventsArg{}.ts), 16},
		{"struct __kernel_timespec", unsafe.Sizeof(kernelTimespec{}), 16},
		{"argument of IORING_REGISTER_IOWQ_MAX_WORKERS", unsafe.Sizeof(maxWorkers{}), 8},
		{"struct io_uring_restriction", unsafe.Sizeof(restriction{}), 16},
		{"struct io_uring_probe", unsafe.Offsetof(probe{}.ops), 16},
		{"struct io_uring_probe_op", unsafe.Sizeof(probeOp{}), 8},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, tc.got, tc.want)
		}
	}
}
