package board

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DefaultCache returns the default directory of the kernels.
func DefaultCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("board: %w; name a cache directory", err)
	}
	return filepath.Join(dir, "uringhttpd-boards"), nil
}

// A Build is one call of go build.
type Build struct {
	Package string // directory or import path; "" is the module's root
	Output  string // file to write
	Flags   []string
}

// Build builds a static program for the board.
func (b Board) Build(ctx context.Context, o Build) error {
	m, err := b.machine()
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	output, err := filepath.Abs(o.Output)
	if err != nil {
		return fmt.Errorf("board: %w", err)
	}
	args := append([]string{"build", "-o", output}, o.Flags...)
	cmd := exec.CommandContext(ctx, "go")
	cmd.Dir = root
	switch {
	case o.Package == "":
		args = append(args, ".")
	case filepath.IsAbs(o.Package):
		cmd.Dir = o.Package // the package may belong to another module
		args = append(args, ".")
	default:
		args = append(args, o.Package)
	}
	cmd.Args = append([]string{"go"}, args...)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+m.goarch), m.goenv...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("board: go %s for %s: %w\n%s", strings.Join(args, " "), m.name, err, out)
	}
	return nil
}

// moduleRoot returns the directory of go.mod above the working directory. The working
// directory of a test is the directory of its package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("board: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("board: no go.mod above the working directory; run from within the module")
		}
		dir = parent
	}
}
