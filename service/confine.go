package service

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine installs a seccomp filter that denies this process and its children the creation of
// AF_ALG sockets, which only the start needs, and of io_uring instances, which bypass a system
// call filter. It is called after the service has created its ring, which the kernel restricts
// to the operations that the service uses. After an error the filter is not installed.
func confine() error {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64, "arm": unix.AUDIT_ARCH_ARM}[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("confine: no filter of system calls for %s", runtime.GOARCH)
	}
	filter := confinement(arch)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // prctl sets no_new_privs for this thread only
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

// confinement returns a filter for struct seccomp_data, whose members are int nr; __u32 arch;
// __u64 instruction_pointer; __u64 args[6]. It denies system calls of all other architectures,
// since they have other numbers.
func confinement(arch uint32) []unix.SockFilter {
	const (
		nr, architecture, arg0 = 0, 4, 16 // offsets; arg0 is the lower half of args[0]
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
