// Package priority makes the kernel select another driver of gcm(aes), for the whole system, and
// reverts the change.
//
// The kernel selects the implementation by priority, and kernel TLS has no way to choose another. A
// process that wants another driver must therefore raise that driver's priority, and the old
// priority must be restored when the process has ended, also after a crash. So the change is
// written to a state file before it is made, and a lock tells whether another process relies on it.
package priority

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/offload/statefile"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// Dir is the directory of the lock and of the state file. A reboot removes it, and resets the
// priorities too.
const Dir = "/run/uringhttpd"

var (
	// ErrNoDriver is the error of Raise if the kernel has no driver of the wanted kind.
	ErrNoDriver = errors.New("the kernel has no such driver of gcm(aes)")
	// ErrInUse is the error of an operation that requires an exclusive lock.
	ErrInUse = errors.New("another process relies on the selected driver of gcm(aes)")
)

// A Lock is the right to change the selected driver of gcm(aes) if it is exclusive, or else to rely
// on it staying selected. It is a lock on a file, and ends with the process.
type Lock struct {
	kernel     kernel
	dir        string
	file       *os.File
	exclusive  bool
	restoreErr error // why the change of an earlier process could not be reverted
	change     *Change
}

// A kernel lists and changes the drivers of gcm(aes).
type kernel interface {
	// drivers lists the drivers of gcm(aes), the selected driver first. An error means that
	// the list, or the flag that marks hardware, cannot be read.
	drivers() ([]cryptoapi.Algorithm, error)
	setPriority(driver string, priority int) error
	// instantiate creates a gcm(aes) without a part computed by an engine, if there is none yet:
	// the kernel does not create it by itself while it has another gcm(aes).
	instantiate() error
}

// runningKernel is the kernel of this machine.
type runningKernel struct{}

func (runningKernel) setPriority(driver string, priority int) error {
	return cryptoapi.SetPriority(driver, priority)
}

func (runningKernel) instantiate() error { return cryptoapi.Instantiate() }

func (runningKernel) drivers() ([]cryptoapi.Algorithm, error) {
	all, err := cryptoapi.Read()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("priority: /proc/crypto is not visible. Remove ProcSubset=pid from the unit, if it is set")
	}
	if f := platform.NetlinkFeature(cryptoapi.MarkHardware(all)); !f.Usable {
		return nil, fmt.Errorf("priority: %s; %s", f.Reason, f.Remedy)
	}
	return cryptoapi.Implementations(all, ktls.AlgorithmGCM), nil
}

// A Change is a raised priority, as stored in the state file.
type Change struct {
	Driver string `json:"driver"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

const (
	lockName     = "preference.lock"
	stateName    = "raised.json"
	pollInterval = 100 * time.Millisecond
)

// Acquire takes the lock. If no other process holds it, the lock is exclusive, and Acquire first
// reverts a change that an earlier process has left behind; if that fails, it returns the error
// together with a Lock, which then changes nothing. It returns no Lock if this process may not use
// Dir, or if another process holds the lock exclusively for longer than patience (ErrInUse).
func Acquire(patience time.Duration) (*Lock, error) {
	return acquire(runningKernel{}, Dir, patience)
}

func acquire(k kernel, dir string, patience time.Duration) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("priority: %w", err)
	}
	name := filepath.Join(dir, lockName)
	const flags = unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|flags, 0o644)
	if errors.Is(err, fs.ErrPermission) { // root has created it; locking it needs no write permission
		f, err = os.OpenFile(name, os.O_RDONLY|flags, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("priority: %w", err)
	}
	l := &Lock{kernel: k, dir: dir, file: f}
	// Poll, since flock(2) has no timeout. A process holds the lock exclusively only during its
	// start or a measurement.
	for end := time.Now().Add(patience); ; time.Sleep(pollInterval) {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			l.exclusive = true
			l.restoreErr = l.restore()
			return l, l.restoreErr
		case unix.EWOULDBLOCK:
		default:
			f.Close()
			return nil, fmt.Errorf("priority: %w", os.NewSyscallError("flock", err))
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			return l, nil
		}
		if time.Now().After(end) {
			f.Close()
			return nil, ErrInUse
		}
	}
}

// Exclusive reports whether this process holds the lock alone: no other process relies on the
// selected driver. It stays true until Downgrade.
func (l *Lock) Exclusive() bool { return l.exclusive }

// Changed reports whether Raise has changed a priority that was not reverted.
func (l *Lock) Changed() bool { return l.change != nil }

// Downgrade lets other processes rely on the selected driver, too. From then on, Raise changes
// nothing.
func (l *Lock) Downgrade() error {
	l.exclusive = false
	return os.NewSyscallError("flock", unix.Flock(int(l.file.Fd()), unix.LOCK_SH))
}

// Raise raises the priority of a driver so that the kernel selects hardware for gcm(aes), or
// a driver that is not hardware. It returns the change, or nil if no driver had to be raised.
// Only connections set up later are affected. The kernel also unregisters the algorithms that are
// built from the raised driver, such as some of IPsec's, and recreates them at their next use.
//
// The error wraps ErrInUse without an exclusive lock, ErrNoDriver if there is no driver of
// that kind, and cryptoapi.ErrNotAllowed without CAP_NET_ADMIN.
func (l *Lock) Raise(hardware bool) (*Change, error) {
	all, err := l.kernel.drivers()
	if err != nil {
		return nil, err
	}
	if len(all) > 0 && all[0].Selectable() && all[0].Hardware == hardware {
		return nil, nil
	}
	switch {
	case !l.exclusive:
		return nil, ErrInUse
	case l.restoreErr != nil:
		return nil, l.restoreErr
	}
	candidate := func(a cryptoapi.Algorithm) bool { return a.Selectable() && a.Hardware == hardware }
	if !hardware && len(all) > 0 && !slices.ContainsFunc(all, candidate) {
		if err := l.kernel.instantiate(); err != nil {
			return nil, err
		}
		if all, err = l.kernel.drivers(); err != nil {
			return nil, err
		}
	}
	i := slices.IndexFunc(all, candidate) // of the highest priority
	switch {
	case i < 0:
		return nil, ErrNoDriver
	case all[0].Priority == math.MaxInt32:
		return nil, fmt.Errorf("priority: %s has the highest possible priority, so no other driver can be raised above it", all[0].Driver)
	}
	c := &Change{Driver: all[i].Driver, Before: all[i].Priority, After: all[0].Priority + 1}
	if err := l.checkFile(); err != nil {
		return nil, err
	}
	if err := statefile.Store(l.statePath(), c); err != nil { // before the change, so that the old priority is never lost
		return nil, fmt.Errorf("priority: %w", err)
	}
	l.change = c
	if err := l.kernel.setPriority(c.Driver, c.After); err != nil {
		return nil, errors.Join(err, l.Revert())
	}
	return c, nil
}

// Revert restores the priority that Raise has changed, unless another process has set the priority
// again meanwhile.
func (l *Lock) Revert() error {
	if l.change == nil {
		return nil
	}
	if err := l.revert(l.change); err != nil {
		return err
	}
	l.change = nil
	return nil
}

// Release releases the lock. If no other process holds it, Release first reverts the change in the
// state file, also that of another process of this user.
func (l *Lock) Release() error {
	defer l.file.Close()
	if !l.exclusive && unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return l.restore()
}

// restore reverts the change in the state file, if there is one. A file that does not parse counts
// as none: the process ended while writing it, before it changed the priority.
func (l *Lock) restore() error {
	var c Change
	switch err := statefile.Load(l.statePath(), &c); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, statefile.ErrTorn), err == nil && c.Driver == "":
		return nil
	case err != nil:
		return fmt.Errorf("priority: %w", err)
	}
	return l.revert(&c)
}

// revert restores a priority and removes the state file.
func (l *Lock) revert(c *Change) error {
	all, err := l.kernel.drivers()
	if err != nil {
		return err
	}
	if priorityOf(all, c.Driver) == c.After {
		if err := l.kernel.setPriority(c.Driver, c.Before); err != nil {
			return err
		}
	}
	if err := os.Remove(l.statePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("priority: %w", err)
	}
	return nil
}

// checkFile returns an error if the lock's file is not that of its name any more: another process
// may hold a lock of the new one.
func (l *Lock) checkFile() error {
	ours, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("priority: %w", err)
	}
	named, err := os.Stat(l.file.Name())
	if err != nil || !os.SameFile(ours, named) {
		return fmt.Errorf("priority: %s was removed while this process holds it: restart the service", l.file.Name())
	}
	return nil
}

func (l *Lock) statePath() string { return filepath.Join(l.dir, stateName) }

// priorityOf returns the priority of a driver, or -1 if it is not in all.
func priorityOf(all []cryptoapi.Algorithm, driver string) int {
	for _, a := range all {
		if a.Driver == driver {
			return a.Priority
		}
	}
	return -1
}
