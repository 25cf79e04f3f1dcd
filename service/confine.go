package service

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine takes from this process, and from all that it starts, the right to open sockets of
// AF_ALG, which the start needs and nothing after it, and to make rings, with which a filter
// of system calls is passed by. It is called once the service has its ring, which the kernel
// restricts to what the service does with it. An error means that nothing has changed.
func confine() error {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64, "arm": unix.AUDIT_ARCH_ARM}[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("confine: no filter of system calls for %s", runtime.GOARCH)
	}
	filter := confinement(arch)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // no_new_privs is the thread's at first
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine: %w", os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err))
	}
	// All threads get the filter and no_new_privs (seccomp(2)).
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno != 0:
		return fmt.Errorf("confine: %w", os.NewSyscallError("seccomp", errno))
	case thread != 0:
		return fmt.Errorf("confine: seccomp: thread %d has a filter of its own", thread)
	}
	return nil
}

// confinement is a filter for struct seccomp_data, whose members are int nr; __u32 arch;
// __u64 instruction_pointer; __u64 args[6]. arch is the only one that it lets through: others
// have other numbers.
func confinement(arch uint32) []unix.SockFilter {
	const (
		nr, architecture, arg0 = 0, 4, 16 // offsets; of args[0] the lower half
		x32                    = 1 << 30  // __X32_SYSCALL_BIT
		refuse                 = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(condition uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | condition, K: k, Jt: yes, Jf: no}
	}
	end := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	return []unix.SockFilter{
		load(architecture),
		jump(unix.BPF_JEQ, arch, 0, 7),
		load(nr),
		jump(unix.BPF_JGE, x32, 5, 0),
		jump(unix.BPF_JEQ, unix.SYS_IO_URING_SETUP, 4, 0),
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 2),
		load(arg0),
		jump(unix.BPF_JEQ, unix.AF_ALG, 1, 0),
		end(unix.SECCOMP_RET_ALLOW),
		end(refuse),
	}
}
