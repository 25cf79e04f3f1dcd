package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"uringhttpd/platform"
)

// deniable are the system calls of io_uring.
var deniable = map[string]uint32{
	"io_uring_setup": unix.SYS_IO_URING_SETUP, "io_uring_enter": unix.SYS_IO_URING_ENTER, "io_uring_register": unix.SYS_IO_URING_REGISTER,
}

// deny installs a seccomp filter on all threads that fails a system call with EPERM, as the
// seccomp profile of a container does.
func deny(call string) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // nr of struct seccomp_data
		{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, K: deniable[call], Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// TestDeniedSystemCallIsReported: if a seccomp filter denies a system call of io_uring, doctor
// and serve name that call and exit with an error.
func TestDeniedSystemCallIsReported(t *testing.T) {
	_, configure := site(t)
	path := configure(good)
	for call := range deniable {
		t.Run(call, func(t *testing.T) {
			out, err := exec.Command("/proc/self/exe", "denied", call, "doctor", "-json", "-config", path).Output()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			var report struct {
				IOURing platform.Feature `json:"io_uring"`
				Verdict string
				Status  int
			}
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v in %q", err, out)
			}
			f := report.IOURing
			if f.Usable || f.Inconclusive || !strings.Contains(f.Reason, "a seccomp filter forbids "+call) || !strings.Contains(f.Remedy, call) {
				t.Errorf("io_uring: %+v", f)
			}
			if want := fmt.Sprintf("io_uring cannot be used: %s; %s", f.Reason, f.Remedy); report.Status != exitUsage || report.Verdict != want {
				t.Errorf("status %d, verdict %q, want %d, %q", report.Status, report.Verdict, exitUsage, want)
			}
			text, err := exec.Command("/proc/self/exe", "denied", call, "serve", "-config", path).CombinedOutput()
			if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(string(text), report.Verdict) {
				t.Errorf("serve: %v, %q, want %q", err, text, report.Verdict)
			}
		})
	}
}
