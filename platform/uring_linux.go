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

// Rings probes the use of io_uring by this process. It caches the answers, since a process may
// give up the right to make rings later.
type Rings struct {
	open    func() (*uring.Ring, error)
	lock    sync.Mutex
	feature Feature // the zero Feature until there is an answer
	sends   SendTest
	kept    []*uring.Ring // rings that could not be closed: the kernel may still use their memory
}

// NewRings returns a Rings that probes with open, which makes a ring on the calling thread in the
// same way as the program itself.
func NewRings(open func() (*uring.Ring, error)) *Rings { return &Rings{open: open} }

// Feature reports whether a ring can be made and used. It probes unless the answer is known; an
// inconclusive answer is not cached.
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

// on makes a ring, calls f with it and closes it, on a thread of its own that ends afterwards: the
// ring belongs to that thread, and the kernel keeps the ring's idle workers and their limits there.
func (r *Rings) on(f func(*uring.Ring) error) error {
	result := make(chan error)
	go onEndingThread(func() {
		ring, err := r.open()
		if err == nil {
			err = f(ring)
			if cerr := ring.Close(func(uring.Completion) {}); cerr != nil {
				r.kept = append(r.kept, ring)
				err = errors.Join(err, cerr)
			}
		}
		result <- err
	})
	return <-result
}

// onEndingThread calls f on a thread that ends with the calling goroutine. Go never ends the main
// thread; while that one is locked, another goroutine runs on another thread.
func onEndingThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onEndingThread(f)
	}()
	<-done
}

// uringFacts are the facts that distinguish the causes of an errno.
type uringFacts struct {
	disabled int  // sysctl kernel.io_uring_disabled (Linux 6.6); -1 if it does not exist
	group    int  // sysctl kernel.io_uring_group; -1 if it is unset or does not exist
	inGroup  bool // this process belongs to group
	seccomp  bool // a seccomp filter applies to this process
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
		groups, _ := os.Getgroups() // no known group means no member
		f.inGroup = os.Getegid() == f.group
		for _, g := range groups {
			f.inGroup = f.inGroup || g == f.group
		}
	}
	return f
}

const seccompRemedy = "allow io_uring_setup, io_uring_enter and io_uring_register in SystemCallFilter= of the unit, or in the container's seccomp profile"

// refused returns the system call that failed, with its purpose in parentheses, and the errno.
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
		return Feature{Inconclusive: true, Reason: strings.ReplaceAll(err.Error(), "\n", ", "), Remedy: "try again"}
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("%s failed with %v (%s)", call, errno, unix.ErrnoName(errno)),
		Remedy:       "search the kernel's log (dmesg) for the cause",
	}
}

// uringHidden explains ENOSYS. The filters of some container runtimes return it for calls that
// they do not list.
func uringHidden(call string, f uringFacts) Feature {
	// A failure of a call other than io_uring_setup, and the sysctl, prove that the kernel has io_uring.
	if f.seccomp && (call != setupCall || f.disabled >= 0) {
		return Feature{Reason: "a seccomp filter hides " + call + " from this process", Remedy: seccompRemedy}
	}
	if call != setupCall {
		return Feature{
			Reason: "the kernel has io_uring_setup, but not " + call,
			Remedy: "use Linux 6.1 or later, built with CONFIG_IO_URING=y, and not an emulation of it",
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

// uringForbidden distinguishes the causes of EPERM and EACCES. It checks the sysctl, which applies
// only to io_uring_setup, first: if the sysctl forbids the call, lifting a filter would not help.
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
