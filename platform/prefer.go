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
)

// Which implementation of gcm(aes) the kernel picks is a matter of their priorities, for
// all of the system: kernel TLS cannot be told. So who wants another one has to raise the
// priority of that, and what was so before has to come back when he has gone.

// PreferredPath is where Prefer notes what it has changed; it is gone after a reboot, as
// the change is.
const PreferredPath = "/run/uringhttpd/preferred.json"

// A Raised is a priority that Prefer has raised.
type Raised struct {
	Driver string `json:"driver"`
	Before int    `json:"before"` // its priority, before it was ever raised
	Was    int    `json:"was"`    // just before; another number if it was raised more than once
	After  int    `json:"after"`
}

// holds tells whether the priority that the driver has is Prefer's doing, or was left as
// it was by a process that ended before it could raise it.
func (r *Raised) holds(all []Algorithm) bool {
	p := priorityOf(all, r.Driver)
	return p == r.After || p == r.Was
}

var (
	// ErrNoSuchDriver is Prefer's error if there is nothing to prefer.
	ErrNoSuchDriver = errors.New("the kernel has no such driver of gcm(aes)")
	// ErrNotAllowed is wrapped by the errors of those who may not change priorities.
	ErrNotAllowed = errors.New("this needs CAP_NET_ADMIN")
)

// cryptoKernel is what Prefer needs of the kernel.
type cryptoKernel interface {
	// algorithms lists those called gcm(aes), the one that is picked first. The error is
	// that it cannot be told which are hardware.
	algorithms() ([]Algorithm, error)
	setPriority(driver string, priority int) error
	// instantiate makes a gcm(aes) that no engine has a part in, if there is none yet: the
	// kernel makes none while it has another.
	instantiate() error
}

// Prefer has the kernel pick hardware for gcm(aes), or something that is not, and tells
// what was changed for that, which [Raised.Undo] takes back; nil if it is picked as it
// is. What an earlier process changed and has not taken back, is taken over. It concerns
// connections that are set up later. The kernel also unregisters algorithms that are made
// of the one that is raised, as IPsec has some; they are made anew when they are used.
func Prefer(hardware bool) (*Raised, error) { return prefer(kernelCrypto{}, PreferredPath, hardware) }

// Restore takes back what an earlier process has changed by Prefer, if there is any.
func Restore() error { return restore(kernelCrypto{}, PreferredPath) }

// Preferred is the driver that another process has the kernel prefer; "" if there is none.
func Preferred() (driver string, err error) { return preferred(kernelCrypto{}, PreferredPath) }

func preferred(k cryptoKernel, path string) (string, error) {
	r, err := readRaised(path)
	if r == nil || err != nil {
		return "", err
	}
	all, err := k.algorithms()
	if err != nil || priorityOf(all, r.Driver) != r.After {
		return "", err
	}
	return r.Driver, nil
}

// Undo takes the change back, unless somebody else has changed it meanwhile.
func (r *Raised) Undo() error { return r.undo(kernelCrypto{}, PreferredPath) }

func prefer(k cryptoKernel, path string, hardware bool) (*Raised, error) {
	all, err := k.algorithms()
	if err != nil {
		return nil, err
	}
	old, err := readRaised(path)
	if err != nil {
		return nil, err
	}
	if old != nil && !old.holds(all) {
		old = nil // of something that is gone
	}
	if old != nil && hardwareOf(all, old.Driver) != hardware {
		if err := old.undo(k, path); err != nil {
			return nil, err
		}
		if all, err = k.algorithms(); err != nil {
			return nil, err
		}
		old = nil
	}
	if len(all) > 0 && all[0].eligible() && all[0].Hardware == hardware {
		return old, nil
	}
	candidates := func(a Algorithm) bool { return a.eligible() && a.Hardware == hardware }
	if !hardware && len(all) > 0 && !slices.ContainsFunc(all, candidates) {
		if err := k.instantiate(); err != nil {
			return nil, err
		}
		if all, err = k.algorithms(); err != nil {
			return nil, err
		}
	}
	for _, a := range all { // the highest priority first
		if !candidates(a) {
			continue
		}
		if all[0].Priority == math.MaxInt32 {
			return nil, fmt.Errorf("platform: %s has the highest priority that there is", all[0].Driver)
		}
		r := &Raised{Driver: a.Driver, Before: a.Priority, Was: a.Priority, After: all[0].Priority + 1}
		if old != nil && old.Driver == r.Driver {
			r.Before = old.Before // it was raised, and something else has come since
		}
		if err := r.write(path); err != nil { // first, so that it is never lost
			return nil, err
		}
		return r, k.setPriority(r.Driver, r.After)
	}
	return nil, ErrNoSuchDriver
}

func restore(k cryptoKernel, path string) error {
	r, err := readRaised(path)
	if r == nil || err != nil {
		return err
	}
	return r.undo(k, path)
}

func (r *Raised) undo(k cryptoKernel, path string) error {
	all, err := k.algorithms()
	if err != nil {
		return err
	}
	if r.holds(all) && priorityOf(all, r.Driver) != r.Before {
		if err := k.setPriority(r.Driver, r.Before); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
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

func hardwareOf(all []Algorithm, driver string) bool {
	for _, a := range all {
		if a.Driver == driver {
			return a.Hardware
		}
	}
	return false
}

// readRaised reads the note of an earlier process; nil if there is none. One that cannot
// be understood is none: it was cut off before the kernel was told.
func readRaised(path string) (*Raised, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	var r Raised
	if json.Unmarshal(data, &r) != nil || r.Driver == "" {
		return nil, nil
	}
	return &r, nil
}

// write leaves the note, whole or not at all.
func (r *Raised) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, data, 0o644); err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	return nil
}
