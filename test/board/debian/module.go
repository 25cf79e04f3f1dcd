package debian

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Module is a kernel module, ready to be loaded.
type Module struct {
	Name string // as in lsmod
	Data []byte // the uncompressed object file
}

// Modules returns the named modules and the modules that they depend on, in an order in which
// they can be loaded. Names may be written with - or _. Modules that are built into the kernel
// are left out; a name that the kernel does not have is an error.
func (k *Kernel) Modules(ctx context.Context, names ...string) ([]Module, error) {
	files, err := moduleFiles(k.modules)
	if err != nil {
		return nil, fmt.Errorf("debian: %w", err)
	}
	l := loader{files: files, done: map[string]bool{}}
	for _, name := range names {
		if err := l.add(ctx, canonical(name)); err != nil {
			return nil, fmt.Errorf("debian: %s: %w", k.Package, err)
		}
	}
	return l.order, nil
}

// canonical returns a module's name as the kernel writes it.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// builtin stands for the file of a module that is built into the kernel.
const builtin = "builtin"

// moduleFiles maps the modules below dir to their files.
func moduleFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for _, f := range strings.Fields(string(list)) {
		files[canonical(strings.TrimSuffix(filepath.Base(f), ".ko"))] = builtin
	}
	err = filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		base, _, ok := strings.Cut(filepath.Base(name), ".ko")
		if ok {
			files[canonical(base)] = name
		}
		return err
	})
	return files, err
}

// A loader sorts modules by their dependencies.
type loader struct {
	files map[string]string
	done  map[string]bool
	order []Module
}

func (l *loader) add(ctx context.Context, name string) error {
	if l.done[name] {
		return nil
	}
	// Added before the dependencies, so that a circle ends.
	l.done[name] = true
	file, ok := l.files[name]
	if !ok {
		return fmt.Errorf("no module %s is kept; if the package has it, add its directory to kept", name)
	}
	if file == builtin {
		return nil
	}
	data, err := decompress(ctx, file)
	if err != nil {
		return err
	}
	depends, err := dependencies(data)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	for _, d := range depends {
		if err := l.add(ctx, canonical(d)); err != nil {
			return fmt.Errorf("%w (%s depends on it)", err, name)
		}
	}
	l.order = append(l.order, Module{Name: name, Data: data})
	return nil
}

// decompress reads a module. The standard library has no xz, so the program xz is used.
func decompress(ctx context.Context, file string) ([]byte, error) {
	if strings.HasSuffix(file, ".ko") {
		return os.ReadFile(file)
	}
	if !strings.HasSuffix(file, ".ko.xz") {
		return nil, fmt.Errorf("%s: unknown compression; only xz is supported", file)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", file).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w; install xz-utils", err)
	}
	if err != nil {
		return nil, fmt.Errorf("xz %s: %w; if the file is damaged, remove the cache directory", file, err)
	}
	return out, nil
}

// dependencies reads the depends field of the .modinfo section, which holds KEY=VALUE strings
// that end in zero bytes.
func dependencies(object []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("no .modinfo section; not a kernel module")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if v, ok := strings.CutPrefix(field, "depends="); ok {
			return slices.DeleteFunc(strings.Split(v, ","), func(d string) bool { return d == "" }), nil
		}
	}
	return nil, nil
}
