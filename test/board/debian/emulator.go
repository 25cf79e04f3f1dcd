package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// An Emulator is a QEMU, installed on the machine or in the cache.
type Emulator struct {
	Path string
	Data string // directory for its option -L; "" is its default
}

// emulatorSuite is the suite with the QEMU to fetch. That QEMU is built for Debian 12, so it
// runs with the libraries that the release's own qemu-system-arm needs.
const emulatorSuite = "bookworm-backports"

// FetchEmulator returns a QEMU with the given name of program that supports a machine: the
// installed QEMU if it does, else a newer QEMU, which is fetched into the directory cache.
func FetchEmulator(ctx context.Context, cache, program, machine string) (*Emulator, error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("debian: %w; install qemu-system-x86, qemu-system-arm and ipxe-qemu", err)
	}
	installed := &Emulator{Path: program}
	if installed.knows(ctx, machine) == nil {
		return installed, nil
	}
	p, err := pinned(pinsText, packageKey("qemu-system-arm", runtime.GOARCH))
	if err != nil {
		return nil, err
	}
	shelf := filepath.Join(cache, p.shelf())
	if err := os.MkdirAll(shelf, 0o755); err != nil {
		return nil, fmt.Errorf("debian: cache: %w; name another directory", err)
	}
	unlock, err := lock(filepath.Join(shelf, "lock"))
	if err != nil {
		return nil, fmt.Errorf("debian: cache: %w", err)
	}
	defer unlock()
	root := filepath.Join(shelf, "root")
	if _, err := os.Stat(root); err != nil {
		if err := fetchEmulator(ctx, shelf, root); err != nil {
			return nil, fmt.Errorf("debian: no newer QEMU could be fetched; is the network up?\n%w", err)
		}
	}
	e := &Emulator{Path: filepath.Join(root, "usr", "bin", program), Data: filepath.Join(root, "usr", "share", "qemu")}
	if err := e.knows(ctx, machine); err != nil {
		return nil, fmt.Errorf("debian: %w; if a library is missing, apt-get install qemu-system-arm brings it", err)
	}
	return e, nil
}

// knows returns an error if the emulator does not run or lacks the machine.
func (e *Emulator) knows(ctx context.Context, machine string) error {
	cmd := exec.CommandContext(ctx, e.Path, "-machine", "help")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", e.Path, err, stderr.String())
	}
	for line := range strings.Lines(string(out)) {
		if name, _, _ := strings.Cut(line, " "); name == machine {
			return nil
		}
	}
	return fmt.Errorf("%s has no machine %s", e.Path, machine)
}

// fetchEmulator downloads QEMU for ARM into the directory root.
func fetchEmulator(ctx context.Context, shelf, root string) error {
	m, err := findMirror("/etc/apt")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(shelf, "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fetched := filepath.Join(dir, "root")
	// Debian and Go use the same names for the architectures of build machines.
	a, err := newApt(filepath.Join(dir, "apt"), runtime.GOARCH, m, emulatorSuite)
	if err != nil {
		return err
	}
	if err := a.update(ctx); err != nil {
		return err
	}
	for _, name := range []string{"qemu-system-arm", "qemu-system-data"} {
		deb, err := a.downloadPinned(ctx, name)
		if err != nil {
			return err
		}
		if err := unpack(ctx, deb, fetched, keepEmulator); err != nil {
			return err
		}
		if err := os.Remove(deb); err != nil {
			return err
		}
	}
	return os.Rename(fetched, root)
}

func keepEmulator(name string) bool {
	return path.Dir(name) == "usr/bin" || strings.HasPrefix(name, "usr/share/qemu/")
}
