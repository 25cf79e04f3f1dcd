package platform

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

func TestURingFeature(t *testing.T) {
	// The usual process: no sysctl, no filter, no capability.
	plain := uringFacts{disabled: -1, group: -1}
	with := func(change func(*uringFacts)) uringFacts {
		f := plain
		change(&f)
		return f
	}
	for _, tt := range []struct {
		name         string
		errno        unix.Errno
		facts        uringFacts
		inconclusive bool
		reason       string // part of it
		remedy       string // part of it
	}{
		{"too old", unix.ENOSYS, plain, false, "no io_uring: it is too old or was built without", "CONFIG_IO_URING=y"},
		{"too old, or filtered", unix.ENOSYS, with(func(f *uringFacts) { f.seccomp = true }), false, "(or a seccomp filter hides it)", "SystemCallFilter="},
		{"hidden by a filter", unix.ENOSYS, with(func(f *uringFacts) { f.seccomp, f.disabled = true, 0 }), false, "a seccomp filter hides", "SystemCallFilter="},
		{"before 6.1", unix.EINVAL, plain, false, "older than Linux 6.1", "Linux 6.1"},
		{"off by sysctl", unix.EPERM, with(func(f *uringFacts) { f.disabled = 2 }), false, "io_uring_disabled is 2", "io_uring_disabled = 0"},
		{"off by sysctl and filter", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.seccomp = 2, true }), false, "io_uring_disabled is 2", ""},
		{"restricted, no group", unix.EPERM, with(func(f *uringFacts) { f.disabled = 1 }), false, "io_uring_group is not set", "io_uring_group"},
		{"restricted, other group", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.group = 1, 990 }), false, "not in kernel.io_uring_group (990)", "io_uring_group"},
		{"restricted, but a member, and a filter", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.group, f.inGroup, f.seccomp = 1, 990, true, true }), false, "seccomp", "io_uring_enter"},
		{"restricted, but root, and a filter", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.process.capEff, f.seccomp = 1, 1<<capSysAdmin, true }), false, "seccomp", ""},
		{"filter", unix.EPERM, with(func(f *uringFacts) { f.seccomp, f.disabled = true, 0 }), false, "a seccomp filter forbids io_uring_setup: SystemCallFilter= of the unit or the container's profile", "io_uring_register"},
		{"filter with EACCES", unix.EACCES, with(func(f *uringFacts) { f.seccomp = true }), false, "seccomp", ""},
		{"security module", unix.EPERM, plain, false, "neither", "SELinux"},
		{"no memory", unix.ENOMEM, plain, true, "RLIMIT_MEMLOCK", "LimitMEMLOCK="},
		{"no descriptor", unix.EMFILE, plain, true, "file descriptor", "LimitNOFILE="},
		{"unknown errno", unix.EIO, plain, true, "EIO", "dmesg"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := error(&uring.FeatureError{Feature: "io_uring", Call: setupCall, Errno: tt.errno})
			check(t, uringFeature(err, tt.facts), tt.inconclusive, tt.reason, tt.remedy)
		})
	}
	filtered := with(func(f *uringFacts) { f.seccomp, f.disabled = true, 2 })
	register := func(errno unix.Errno) error {
		return &uring.FeatureError{Feature: "IORING_REGISTER_PROBE", Call: "io_uring_register", Errno: errno}
	}
	enter := func(errno unix.Errno) error {
		return fmt.Errorf("uring: %w", os.NewSyscallError("io_uring_enter", errno))
	}
	for _, tt := range []struct {
		name           string
		err            error
		facts          uringFacts
		inconclusive   bool
		reason, remedy string
	}{
		{"filter of io_uring_register", register(unix.EPERM), filtered, false, "a seccomp filter forbids io_uring_register (IORING_REGISTER_PROBE): SystemCallFilter=", "io_uring_register"},
		{"filter hides io_uring_register", register(unix.ENOSYS), filtered, false, "a seccomp filter hides io_uring_register (IORING_REGISTER_PROBE)", "io_uring_register"},
		{"no io_uring_register", register(unix.ENOSYS), plain, false, "has io_uring_setup, but not io_uring_register", "CONFIG_IO_URING"},
		{"io_uring_register forbidden", register(unix.EACCES), plain, false, "forbids io_uring_register (IORING_REGISTER_PROBE)", "SELinux"},
		{"io_uring_register, unknown errno", register(unix.EINVAL), plain, true, "io_uring_register (IORING_REGISTER_PROBE) failed with invalid argument (EINVAL)", "dmesg"},
		{"filter of io_uring_enter", enter(unix.EPERM), filtered, false, "a seccomp filter forbids io_uring_enter:", "io_uring_enter"},
		{"filter hides io_uring_enter", enter(unix.ENOSYS), filtered, false, "a seccomp filter hides io_uring_enter", "io_uring_enter"},
		{"no operation", &uring.FeatureError{Feature: "IORING_OP_SPLICE"}, plain, false, "lacks IORING_OP_SPLICE", "Linux 6.1"},
		{"no descriptor", fmt.Errorf("uring: %w", os.NewSyscallError("io_uring_setup", unix.EMFILE)), plain, true, "file descriptor", "LimitNOFILE="},
		{"no system call", os.ErrInvalid, plain, true, "invalid argument", "try again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, uringFeature(tt.err, tt.facts), tt.inconclusive, tt.reason, tt.remedy)
		})
	}
	if got := uringFeature(nil, plain); got != (Feature{Usable: true}) {
		t.Errorf("success: %+v, want usable and no more", got)
	}
}

func testRings() *Rings {
	return NewRings(func() (*uring.Ring, error) { return uring.New(8) })
}

// TestRings: a conclusive answer is remembered, another is not.
func TestRings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		errno unix.Errno
		tries int
	}{{"usable", 0, 1}, {"forbidden", unix.EPERM, 1}, {"inconclusive", unix.EMFILE, 2}} {
		tries := 0
		rings := NewRings(func() (*uring.Ring, error) {
			if tries++; tt.errno == 0 {
				return uring.New(8)
			}
			return nil, os.NewSyscallError(setupCall, tt.errno)
		})
		first := rings.Feature()
		if again := rings.Feature(); again != first || first.Usable != (tt.errno == 0) || tries != tt.tries {
			t.Errorf("%s: %+v, %+v, with %d tries, want %d", tt.name, first, again, tries, tt.tries)
		}
	}
}

// TestRingThreadEnds: a probe's ring is never made on the main thread, where io_uring's idle
// workers would stay for the life of the process.
func TestRingThreadEnds(t *testing.T) {
	out, err := exec.Command("go", "run", "./testdata/mainthread").CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "0" {
		t.Errorf("rings made on the main thread: got %s, %v, want 0", got, err)
	}
}
