package debian

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Program is a program of Debian with all files that it is linked to.
type Program struct {
	Path  string            // path on the board
	Files map[string]string // paths on the board by paths on the host
}

// FetchProgram returns a program of a package for an architecture. It is fetched into the
// directory cache first, with the packages that have its libraries. The first package is the
// program's, and pinned.
func FetchProgram(ctx context.Context, cache, architecture, suite, path string, packages ...string) (*Program, error) {
	p, err := pinned(pinsText, packageKey(packages[0], architecture))
	if err != nil {
		return nil, err
	}
	shelf := filepath.Join(cache, p.shelf()+"-"+architecture+"-"+layout)
	if err := os.MkdirAll(shelf, 0o755); err != nil {
		return nil, fmt.Errorf("debian: cache: %w; name another directory", err)
	}
	unlock, err := lock(filepath.Join(shelf, "lock"))
	if err != nil {
		return nil, fmt.Errorf("debian: cache: %w", err)
	}
	defer unlock()
	root := filepath.Join(shelf, "root")
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		if err := fetchPackages(ctx, shelf, root, architecture, suite, packages); err != nil {
			return nil, fmt.Errorf("debian: %s could not be fetched; is the network up?\n%w", packages[0], err)
		}
	}
	program := &Program{Path: path, Files: map[string]string{}}
	if err := program.link(root, path); err != nil {
		return nil, fmt.Errorf("debian: %s: %w", packages[0], err)
	}
	return program, nil
}

func fetchPackages(ctx context.Context, shelf, root, architecture, suite string, packages []string) error {
	m, err := findMirror("/etc/apt")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(shelf, "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	a, err := newApt(filepath.Join(dir, "apt"), architecture, m, suite)
	if err != nil {
		return err
	}
	if err := a.update(ctx); err != nil {
		return err
	}
	fetched := filepath.Join(dir, "root")
	if err := a.extractPinned(ctx, packages[0], fetched); err != nil {
		return err
	}
	for _, name := range packages[1:] {
		if err := a.extract(ctx, name, fetched); err != nil {
			return err
		}
	}
	return os.Rename(fetched, root)
}

// link adds a file of the root to the program's files, with all files that it is linked to,
// including the dynamic linker.
func (p *Program) link(root, path string) error {
	host := filepath.Join(root, path)
	// The linker's path may be a link to its file, relative to the root of a board.
	if target, err := os.Readlink(host); err == nil && filepath.IsAbs(target) {
		host = filepath.Join(root, target)
	}
	p.Files[path] = host
	f, err := elf.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, segment := range f.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(name, 0); err != nil {
			return err
		}
		if err := p.link(root, strings.TrimRight(string(name), "\x00")); err != nil {
			return err
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, library := range libraries {
		found, err := findLibrary(root, library)
		if err != nil {
			return err
		}
		if _, ok := p.Files[found]; ok {
			continue
		}
		if err := p.link(root, found); err != nil {
			return err
		}
	}
	return nil
}

// findLibrary returns the path of a library below root.
func findLibrary(root, name string) (string, error) {
	for _, pattern := range []string{"lib/*/", "usr/lib/*/", "lib*/"} {
		found, err := filepath.Glob(filepath.Join(root, pattern+name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return strings.TrimPrefix(found[0], root), nil
		}
	}
	return "", fmt.Errorf("no library %s; name its package too", name)
}
