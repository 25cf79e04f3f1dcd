package platform

import (
	"encoding/json"
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
	"uringhttpd/platform/cryptoapi"
)

// The kernel selects the implementation of gcm(aes) by priority, for the whole system: kernel
// TLS has no way to choose another. A process that wants another driver must therefore raise
// that driver's priority, and the old priority must be restored when the process has ended.

// PreferenceDir is the directory of the state file with the raised priority. A reboot removes
// it, and resets the priorities too.
const PreferenceDir = "/run/uringhttpd"

var (
	// ErrNoSuchDriver is the error of Prefer if the kernel has no driver of the wanted kind.
	ErrNoSuchDriver = errors.New("the kernel has no such driver of gcm(aes)")
	// ErrInUse is the error of an operation that requires exclusive use.
	ErrInUse = errors.New("another process counts on what the kernel picks for gcm(aes)")
)

// A Preference is the right to change the selected driver of gcm(aes) (an exclusive lock), or
// to rely on it staying selected (a shared lock). The lock is on a file and ends with the process.
type Preference struct {
	kernel cryptoKernel
	dir    string
	lock   *os.File
	alone  bool
	left   error // why the priority change of an earlier process could not be reverted
	raised *Raised
}

// cryptoKernel is the part of the kernel that a Preference uses.
type cryptoKernel interface {
	// algorithms lists the drivers of gcm(aes), the selected driver first. An error means that
	// the list, or the flag that marks hardware, cannot be read.
	algorithms() ([]cryptoapi.Algorithm, error)
	setPriority(driver string, priority int) error
	// instantiate creates a gcm(aes) without a part computed by an engine, if there is none yet:
	// the kernel does not create it by itself while it has another gcm(aes).
	instantiate() error
}

// kernelCrypto is the running kernel.
type kernelCrypto struct{}

func (kernelCrypto) setPriority(driver string, priority int) error {
	return cryptoapi.SetPriority(driver, priority)
}

func (kernelCrypto) instantiate() error { return cryptoapi.Instantiate() }

func (kernelCrypto) algorithms() ([]cryptoapi.Algorithm, error) {
	all, err := cryptoapi.Read()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("platform: /proc/crypto is not to be seen; ProcSubset=pid in the unit would hide it")
	}
	if f := NetlinkFeature(cryptoapi.MarkHardware(all)); !f.Usable {
		return nil, fmt.Errorf("platform: %s; %s", f.Reason, f.Remedy)
	}
	return cryptoapi.Implementations(all, ktls.AlgorithmGCM), nil
}

// A Raised is a driver whose priority was raised, as stored in the state file.
type Raised struct {
	Driver string `json:"driver"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

const (
	lockName = "preference.lock"
	noteName = "raised.json"
	lockPoll = 100 * time.Millisecond
)

// OpenPreference takes the lock on the selected driver of gcm(aes). If no other process holds
// it, OpenPreference first reverts a priority change that an earlier process has left behind; if
// that fails, it returns the error together with a Preference, which then changes nothing. It
// returns no Preference if this process may not use PreferenceDir, or if another process holds
// the lock exclusively for longer than patience (ErrInUse).
func OpenPreference(patience time.Duration) (*Preference, error) {
	return openPreference(kernelCrypto{}, PreferenceDir, patience)
}

func openPreference(k cryptoKernel, dir string, patience time.Duration) (*Preference, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	name := filepath.Join(dir, lockName)
	const flags = unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|flags, 0o644)
	if errors.Is(err, fs.ErrPermission) { // root has created it; locking it needs no write permission
		f, err = os.OpenFile(name, os.O_RDONLY|flags, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	p := &Preference{kernel: k, dir: dir, lock: f}
	// Poll, since flock(2) has no timeout. A process holds the lock exclusively only during its
	// start or a measurement.
	for end := time.Now().Add(patience); ; time.Sleep(lockPoll) {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			p.alone = true
			p.left = p.restore()
			return p, p.left
		case unix.EWOULDBLOCK:
		default:
			f.Close()
			return nil, fmt.Errorf("platform: %w", os.NewSyscallError("flock", err))
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			return p, nil
		}
		if time.Now().After(end) {
			f.Close()
			return nil, ErrInUse
		}
	}
}

// Alone reports whether this process holds the lock exclusively: no other process relies on the
// selected driver. It stays true until Share.
func (p *Preference) Alone() bool { return p.alone }

// Changed reports whether Prefer has changed a priority that was not reverted.
func (p *Preference) Changed() bool { return p.raised != nil }

// MayPrefer reports whether this process may change priorities (CAP_NET_ADMIN).
func MayPrefer() bool { return readStatus().has(capNetAdmin) }

// Share downgrades the lock so that other processes can rely on the selected driver too.
func (p *Preference) Share() error {
	p.alone = false
	return os.NewSyscallError("flock", unix.Flock(int(p.lock.Fd()), unix.LOCK_SH))
}

// Prefer raises the priority of a driver so that the kernel selects hardware for gcm(aes), or
// a driver that is not hardware. It returns the raised driver, or nil if none had to be raised.
// Only connections set up later are affected. The kernel also unregisters the algorithms that are
// built from the raised driver, such as some of IPsec's, and recreates them at their next use.
//
// The error wraps ErrInUse without an exclusive lock, ErrNoSuchDriver if there is no driver of
// that kind, and cryptoapi.ErrNotAllowed without CAP_NET_ADMIN.
func (p *Preference) Prefer(hardware bool) (*Raised, error) {
	all, err := p.kernel.algorithms()
	if err != nil {
		return nil, err
	}
	if len(all) > 0 && all[0].Selectable() && all[0].Hardware == hardware {
		return nil, nil
	}
	switch {
	case !p.alone:
		return nil, ErrInUse
	case p.left != nil:
		return nil, p.left
	}
	candidate := func(a cryptoapi.Algorithm) bool { return a.Selectable() && a.Hardware == hardware }
	if !hardware && len(all) > 0 && !slices.ContainsFunc(all, candidate) {
		if err := p.kernel.instantiate(); err != nil {
			return nil, err
		}
		if all, err = p.kernel.algorithms(); err != nil {
			return nil, err
		}
	}
	i := slices.IndexFunc(all, candidate) // of the highest priority
	switch {
	case i < 0:
		return nil, ErrNoSuchDriver
	case all[0].Priority == math.MaxInt32:
		return nil, fmt.Errorf("platform: %s has the highest priority that there is", all[0].Driver)
	}
	r := &Raised{Driver: all[i].Driver, Before: all[i].Priority, After: all[0].Priority + 1}
	if err := p.note(r); err != nil { // before the change, so that the old priority is never lost
		return nil, err
	}
	p.raised = r
	if err := p.kernel.setPriority(r.Driver, r.After); err != nil {
		return nil, errors.Join(err, p.Undo())
	}
	return r, nil
}

// Undo reverts the priority change of Prefer, unless another process has set the priority again
// meanwhile.
func (p *Preference) Undo() error {
	if p.raised == nil {
		return nil
	}
	if err := p.takeBack(p.raised); err != nil {
		return err
	}
	p.raised = nil
	return nil
}

// Close releases the lock. If no other process holds it, Close reverts the priority change in the
// state file, also that of another process of this user.
func (p *Preference) Close() error {
	defer p.lock.Close()
	if !p.alone && unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return p.restore()
}

// restore reverts the priority change in the state file, if there is one.
func (p *Preference) restore() error {
	r, err := p.noted()
	if r == nil || err != nil {
		return err
	}
	return p.takeBack(r)
}

func (p *Preference) takeBack(r *Raised) error {
	all, err := p.kernel.algorithms()
	if err != nil {
		return err
	}
	if priorityOf(all, r.Driver) == r.After {
		if err := p.kernel.setPriority(r.Driver, r.Before); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(p.dir, noteName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("platform: %w", err)
	}
	return nil
}

// priorityOf returns the priority of a driver, or -1 if it is not in all.
func priorityOf(all []cryptoapi.Algorithm, driver string) int {
	for _, a := range all {
		if a.Driver == driver {
			return a.Priority
		}
	}
	return -1
}

// noted reads the state file of an earlier process; nil if there is none. A file that does not
// parse counts as none: the process ended while writing it, before it changed the priority.
func (p *Preference) noted() (*Raised, error) {
	data, err := ReadNote(filepath.Join(p.dir, noteName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Raised
	if json.Unmarshal(data, &r) != nil || r.Driver == "" {
		return nil, nil
	}
	return &r, nil
}

func (p *Preference) note(r *Raised) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	return WriteNote(filepath.Join(p.dir, noteName), data)
}
