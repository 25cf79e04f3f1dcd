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
)

// Which implementation of gcm(aes) the kernel picks is a matter of their priorities, for
// all of the system: kernel TLS cannot be told. So who wants another one has to raise the
// priority of that, and what was so before has to come back when he has gone.

// PreferenceDir is where it is noted who has raised what; it is gone after a reboot, as
// the priorities are.
const PreferenceDir = "/run/uringhttpd"

var (
	// ErrNoSuchDriver is Prefer's error if there is nothing to prefer.
	ErrNoSuchDriver = errors.New("the kernel has no such driver of gcm(aes)")
	// ErrNotAllowed is wrapped by the errors of those who may not change priorities.
	ErrNotAllowed = errors.New("this needs CAP_NET_ADMIN")
	// ErrInUse is the error of those who are not alone.
	ErrInUse = errors.New("another process counts on what the kernel picks for gcm(aes)")
)

// A Preference is the right to change what the kernel picks for gcm(aes), or to count on
// it. It is a lock on a file, which ends with the process.
type Preference struct {
	kernel cryptoKernel
	dir    string
	lock   *os.File
	alone  bool
	left   error // why what an earlier process has changed is not taken back
	raised *Raised
}

// cryptoKernel is what a Preference needs of the kernel.
type cryptoKernel interface {
	// algorithms lists those called gcm(aes), the one that is picked first. The error is
	// that it cannot be told which are hardware.
	algorithms() ([]Algorithm, error)
	setPriority(driver string, priority int) error
	// instantiate makes a gcm(aes) that no engine has a part in, if there is none yet: the
	// kernel makes none while it has another.
	instantiate() error
}

// A Raised is a driver whose priority was raised, as it is noted.
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

// OpenPreference joins those who count on what the kernel picks. If nobody else does, what
// an earlier process has changed and not taken back is taken back now; an error that this
// failed comes with a Preference all the same, which changes nothing. Without the right to
// use PreferenceDir, or if another process is about to change something for longer than
// patience, there is none.
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
	if errors.Is(err, fs.ErrPermission) { // root has made it; to lock it, it need not be written to
		f, err = os.OpenFile(name, os.O_RDONLY|flags, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	p := &Preference{kernel: k, dir: dir, lock: f}
	// flock(2) cannot wait for a time. Who is alone is so for the time of a start, or of a
	// measurement.
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

// Alone tells whether nobody else counts on what the kernel picks. So it stays until
// Share.
func (p *Preference) Alone() bool { return p.alone }

// Changed tells whether something that Prefer has changed was not taken back.
func (p *Preference) Changed() bool { return p.raised != nil }

// MayPrefer tells whether this process has the right to change priorities.
func MayPrefer() bool { return readStatus().has(capNetAdmin) }

// Share lets others count on what is picked now.
func (p *Preference) Share() error {
	p.alone = false
	return os.NewSyscallError("flock", unix.Flock(int(p.lock.Fd()), unix.LOCK_SH))
}

// Prefer has the kernel pick hardware for gcm(aes), or something that is not. It returns
// the driver that was raised for that, nil if it is picked as it is. It connections that are set
// up later. The kernel also unregisters algorithms that are made of the one that is raised,
// as IPsec has some; they are made anew when they are used.
func (p *Preference) Prefer(hardware bool) (*Raised, error) {
	all, err := p.kernel.algorithms()
	if err != nil {
		return nil, err
	}
	if len(all) > 0 && all[0].eligible() && all[0].Hardware == hardware {
		return nil, nil
	}
	switch {
	case !p.alone:
		return nil, ErrInUse
	case p.left != nil:
		return nil, p.left
	}
	candidate := func(a Algorithm) bool { return a.eligible() && a.Hardware == hardware }
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
	if err := p.note(r); err != nil { // first, so that it is never lost
		return nil, err
	}
	p.raised = r
	if err := p.kernel.setPriority(r.Driver, r.After); err != nil {
		return nil, errors.Join(err, p.Undo())
	}
	return r, nil
}

// Undo takes back what Prefer changed, unless somebody else has changed it meanwhile.
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

// Close is the end of counting on what is picked. The last one takes back what was
// changed, also by others of this user.
func (p *Preference) Close() error {
	defer p.lock.Close()
	if !p.alone && unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return p.restore()
}

// restore takes back what an earlier process has changed.
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

// priorityOf is a driver's, or -1.
func priorityOf(all []Algorithm, driver string) int {
	for _, a := range all {
		if a.Driver == driver {
			return a.Priority
		}
	}
	return -1
}

// noted reads the note of an earlier process; nil if there is none. One that cannot be
// understood is none: it was not finished before the kernel was told.
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
