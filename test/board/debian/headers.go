package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// FetchHeaders returns the directory in which to build modules for a kernel, for make -C. It
// is fetched into the directory cache first: Debian's headers of exactly that kernel, and the
// programs of its build for the processor of the host.
func FetchHeaders(ctx context.Context, cache string, want Want, k *Kernel) (string, error) {
	shelf := filepath.Join(cache, "linux-headers-"+k.Release+"-2")
	if err := os.MkdirAll(shelf, 0o755); err != nil {
		return "", fmt.Errorf("debian: cache: %w; name another directory", err)
	}
	unlock, err := lock(filepath.Join(shelf, "lock"))
	if err != nil {
		return "", fmt.Errorf("debian: cache: %w", err)
	}
	defer unlock()
	root := filepath.Join(shelf, "root")
	build := filepath.Join(root, "usr", "src", "linux-headers-"+k.Release)
	if _, err := os.Stat(root); err == nil {
		return build, nil
	}
	m, err := findMirror("/etc/apt")
	if err != nil {
		return "", err
	}
	var failures []error
	for _, suite := range suites {
		err := fetchHeaders(ctx, shelf, root, want, k.Release, m, suite)
		if err == nil {
			return build, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", suite, err))
		if ctx.Err() != nil {
			break
		}
	}
	return "", fmt.Errorf("debian: no headers of Linux %s could be fetched; if the archive has only a newer kernel, remove %s, and both are fetched anew\n%w",
		k.Release, filepath.Dir(k.root), errors.Join(failures...))
}

// headerPackages returns the packages that a build of a module needs: the headers of a flavour
// and of all flavours, and the possible names of the package of the programs: some releases
// name it after the series.
func headerPackages(want Want, release string) (headers, programs []string) {
	base := strings.TrimSuffix(release, "-"+want.Flavour)
	return []string{"linux-headers-" + release, "linux-headers-" + base + "-common"},
		[]string{"linux-kbuild-" + base, "linux-kbuild-" + want.Series}
}

func fetchHeaders(ctx context.Context, shelf, root string, want Want, release string, m mirror, suite string) error {
	dir, err := os.MkdirTemp(shelf, "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fetched := filepath.Join(dir, "root")
	headers, programs := headerPackages(want, release)
	a, err := newApt(filepath.Join(dir, "apt"), want.Architecture, m, suite)
	if err != nil {
		return err
	}
	if err := a.update(ctx); err != nil {
		return err
	}
	for _, name := range headers {
		if err := a.extract(ctx, name, fetched); err != nil {
			return err
		}
	}
	// Debian and Go use the same names for the architectures of build machines.
	if want.Architecture != runtime.GOARCH {
		if a, err = newApt(filepath.Join(dir, "apt-programs"), runtime.GOARCH, m, suite); err != nil {
			return err
		}
		if err := a.update(ctx); err != nil {
			return err
		}
	}
	names, err := a.names(ctx, "linux-kbuild-"+want.Series)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(programs, func(name string) bool { return slices.Contains(names, name) })
	if i < 0 {
		return fmt.Errorf("has none of the packages %q, only %q", programs, names)
	}
	if err := a.extract(ctx, programs[i], fetched); err != nil {
		return err
	}
	// The makefile of the flavour includes the common makefile by its installed path. Here
	// both are in one directory.
	makefile := filepath.Join(fetched, "usr", "src", "linux-headers-"+release, "Makefile")
	text, err := os.ReadFile(makefile)
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte("include /usr/src/"), []byte("include ../"))
	if err := os.WriteFile(makefile, text, 0o644); err != nil {
		return err
	}
	return os.Rename(fetched, root)
}

// extract downloads a package and unpacks all of it, including links, into root.
func (a *apt) extract(ctx context.Context, name, root string) error {
	deb, err := a.download(ctx, name)
	if err != nil {
		return err
	}
	return extractAll(ctx, deb, root)
}

// extractPinned is extract for a package of pins.txt.
func (a *apt) extractPinned(ctx context.Context, name, root string) error {
	deb, err := a.downloadPinned(ctx, name)
	if err != nil {
		return err
	}
	return extractAll(ctx, deb, root)
}

// extractAll unpacks all of a package into root and removes the package's file.
func extractAll(ctx context.Context, deb, root string) error {
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb -x %s: %w: %s", deb, err, out)
	}
	return os.Remove(deb)
}
