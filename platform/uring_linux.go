package platform

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uringSetup sets up the kind of ring that the service uses, closes it again
// and returns what io_uring_setup(2) answered; 0 is success.
func uringSetup() unix.Errno {
	params := uringParams{flags: setupSingleIssuer | setupDeferTaskrun}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return errno
	}
	// A failed close leaves nothing to do; the answer stands.
	_ = unix.Close(int(fd))
	return 0
}

// uringFacts is what tells the causes of one errno apart.
type uringFacts struct {
	disabled int  // sysctl kernel.io_uring_disabled (Linux 6.6); -1 where there is none
	group    int  // sysctl kernel.io_uring_group; -1 where it is unset or there is none
	inGroup  bool // this process belongs to group
	seccomp  bool // a seccomp filter is on this process
	process  status
}

func readUringFacts() uringFacts {
	f := uringFacts{
		disabled: readInt("/proc/sys/kernel/io_uring_disabled", -1),
		group:    readInt("/proc/sys/kernel/io_uring_group", -1),
		process:  readStatus(),
	}
	f.seccomp = f.process.seccomp == seccompFilter
	if f.group >= 0 {
		groups, _ := os.Getgroups() // none known is no member
		f.inGroup = os.Getegid() == f.group
		for _, g := range groups {
			f.inGroup = f.inGroup || g == f.group
		}
	}
	return f
}

const seccompRemedy = "allow io_uring_setup, io_uring_enter and io_uring_register in SystemCallFilter= of the unit, or in the container's seccomp profile"

// uringFeature explains the answer of io_uring_setup(2). The conditions are
// those of io_uring_allowed() and io_uring_create() in io_uring/io_uring.c.
func uringFeature(errno unix.Errno, f uringFacts) Feature {
	switch errno {
	case 0:
		return Feature{Usable: true}
	case unix.ENOSYS:
		// Some container runtimes answer ENOSYS for what their filter does not
		// list. The sysctl's presence proves that the kernel has io_uring.
		if f.seccomp && f.disabled >= 0 {
			return Feature{Reason: "a seccomp filter hides io_uring_setup from this process", Remedy: seccompRemedy}
		}
		r := Feature{
			Reason: "the kernel has no io_uring: it is too old or was built without CONFIG_IO_URING",
			Remedy: "use Linux 6.1 or later, built with CONFIG_IO_URING=y",
		}
		if f.seccomp {
			r.Reason += " (or a seccomp filter hides it)"
			r.Remedy += "; in a container, also " + seccompRemedy
		}
		return r
	case unix.EINVAL:
		return Feature{
			Reason: "the kernel's io_uring lacks IORING_SETUP_SINGLE_ISSUER or IORING_SETUP_DEFER_TASKRUN: it is older than Linux 6.1",
			Remedy: "use Linux 6.1 or later",
		}
	case unix.EPERM, unix.EACCES:
		return uringForbidden(errno, f)
	case unix.ENOMEM:
		return Feature{
			Inconclusive: true,
			Reason:       "the kernel could not get memory for a ring: RLIMIT_MEMLOCK, the control group's memory limit, or the machine's memory is used up",
			Remedy:       "raise LimitMEMLOCK= and MemoryMax= of the unit, or free memory",
		}
	case unix.EMFILE, unix.ENFILE:
		return Feature{
			Inconclusive: true,
			Reason:       fmt.Sprintf("no file descriptor is left for a ring (%v)", errno),
			Remedy:       "raise LimitNOFILE= of the unit, or the sysctl fs.file-max",
		}
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("io_uring_setup answered %v (%s)", errno, unix.ErrnoName(errno)),
		Remedy:       "look at the kernel's log (dmesg) for what refused it",
	}
}

// uringForbidden tells apart who answered EPERM or EACCES. The sysctl is
// looked at first: where it forbids, lifting a filter as well would not help.
func uringForbidden(errno unix.Errno, f uringFacts) Feature {
	switch {
	case f.disabled == 2:
		return Feature{
			Reason: "the sysctl kernel.io_uring_disabled is 2: io_uring is off for every process",
			Remedy: "set kernel.io_uring_disabled = 0 in /etc/sysctl.d/, or 1 with kernel.io_uring_group set to the service's group",
		}
	case f.disabled == 1 && !f.inGroup && !f.process.has(capSysAdmin):
		reason := "the sysctl kernel.io_uring_disabled is 1 and kernel.io_uring_group is not set"
		if f.group >= 0 {
			reason = fmt.Sprintf("the sysctl kernel.io_uring_disabled is 1 and this process is not in kernel.io_uring_group (%d)", f.group)
		}
		return Feature{
			Reason: reason,
			Remedy: "set kernel.io_uring_group to the service's group id, or kernel.io_uring_disabled = 0, in /etc/sysctl.d/",
		}
	case f.seccomp:
		return Feature{
			Reason: "a seccomp filter forbids io_uring_setup: SystemCallFilter= of the unit or the container's profile",
			Remedy: seccompRemedy,
		}
	}
	return Feature{
		Reason: fmt.Sprintf("the kernel forbids io_uring_setup to this process (%v), and neither the sysctl nor a seccomp filter explains it", errno),
		Remedy: "look for a security module's denial (SELinux, AppArmor) in the kernel's log and in the audit log",
	}
}
