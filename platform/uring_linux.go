package platform

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/uring"
)

// Rings is what this process may do with io_uring. An answer is remembered, since a process
// may give up the making of rings later.
type Rings struct {
	open    func() (*uring.Ring, error)
	lock    sync.Mutex
	feature Feature // the zero Feature until there is an answer
	sends   SendTest
	kept    []*uring.Ring // that could not be closed: the kernel may still use their memory
}

// NewRings returns Rings that asks by means of open, which makes a ring as the program itself
// does, on the calling thread.
func NewRings(open func() (*uring.Ring, error)) *Rings { return &Rings{open: open} }

// Feature tries a ring, unless the answer is known.
func (r *Rings) Feature() Feature {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.feature.Usable || r.feature.Reason != "" && !r.feature.Inconclusive {
		return r.feature
	}
	r.feature = uringFeature(r.on(func(ring *uring.Ring) error {
		return ring.Wait(time.Millisecond, func(uring.Completion) {})
	}), readUringFacts())
	return r.feature
}

// on makes a ring, calls f with it and closes it, on a thread that ends then: the ring belongs to
// it, and the kernel keeps the limits of the ring's workers with it.
func (r *Rings) on(f func(*uring.Ring) error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		ring, err := r.open()
		if err == nil {
			err = f(ring)
			if cerr := ring.Close(func(uring.Completion) {}); cerr != nil {
				r.kept = append(r.kept, ring)
				err = errors.Join(err, cerr)
			}
		}
		result <- err
	}()
	return <-result
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

// refused is the system call that a ring was refused by, with its purpose in parentheses, and
// the kernel's answer.
func refused(err error) (call string, errno unix.Errno) {
	var feature *uring.FeatureError
	var syscall *os.SyscallError
	switch {
	case errors.As(err, &feature):
		call = feature.Call
		if call != setupCall {
			call += " (" + feature.Feature + ")"
		}
	case errors.As(err, &syscall):
		call = syscall.Syscall
	}
	errors.As(err, &errno)
	return call, errno
}

const setupCall = "io_uring_setup"

// uringFeature explains why a ring could not be made or used; err is nil if it could. The
// conditions are those of io_uring_allowed() and io_uring_create() in io_uring/io_uring.c.
func uringFeature(err error, f uringFacts) Feature {
	if err == nil {
		return Feature{Usable: true}
	}
	var feature *uring.FeatureError
	call, errno := refused(err)
	switch errno {
	case unix.ENOSYS:
		return uringHidden(call, f)
	case unix.EINVAL:
		if call == setupCall {
			return Feature{
				Reason: "the kernel's io_uring lacks IORING_SETUP_SINGLE_ISSUER or IORING_SETUP_DEFER_TASKRUN: it is older than Linux 6.1",
				Remedy: "use Linux 6.1 or later",
			}
		}
	case unix.EPERM, unix.EACCES:
		return uringForbidden(call, errno, f)
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
	if errors.As(err, &feature) && errno == 0 {
		return Feature{
			Reason: "the kernel's io_uring lacks " + feature.Feature,
			Remedy: "use Linux 6.1 or later",
		}
	}
	if call == "" {
		return Feature{Inconclusive: true, Reason: strings.ReplaceAll(err.Error(), "\n", ", "), Remedy: "ask again"}
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("%s answered %v (%s)", call, errno, unix.ErrnoName(errno)),
		Remedy:       "look at the kernel's log (dmesg) for what refused it",
	}
}

// uringHidden explains ENOSYS. Some container runtimes answer it for calls that their filter
// does not list.
func uringHidden(call string, f uringFacts) Feature {
	// Calls other than the first, and the sysctl, prove that the kernel has io_uring.
	if f.seccomp && (call != setupCall || f.disabled >= 0) {
		return Feature{Reason: "a seccomp filter hides " + call + " from this process", Remedy: seccompRemedy}
	}
	if call != setupCall {
		return Feature{
			Reason: "the kernel has io_uring_setup, but not " + call,
			Remedy: "use Linux 6.1 or later, built with CONFIG_IO_URING=y, and not a substitute for it",
		}
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
}

// uringForbidden tells the causes of EPERM and EACCES apart. The sysctl, which concerns
// io_uring_setup alone, is looked at first: where it forbids, lifting a filter as well would
// not help.
func uringForbidden(call string, errno unix.Errno, f uringFacts) Feature {
	switch {
	case call != setupCall:
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
	}
	if f.seccomp {
		return Feature{
			Reason: "a seccomp filter forbids " + call + ": SystemCallFilter= of the unit or the container's profile",
			Remedy: seccompRemedy,
		}
	}
	return Feature{
		Reason: fmt.Sprintf("the kernel forbids %s to this process (%v), and neither the sysctl nor a seccomp filter explains it", call, errno),
		Remedy: "look for a security module's denial (SELinux, AppArmor) in the kernel's log and in the audit log",
	}
}
