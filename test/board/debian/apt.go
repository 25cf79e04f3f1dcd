package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// An apt runs apt's commands with its own state, in a directory that can be removed
// afterwards.
type apt struct {
	dir          string
	architecture string
}

// newApt prepares dir for one suite of a mirror.
func newApt(dir, architecture string, m mirror, suite string) (*apt, error) {
	stanza, err := m.stanza(suite)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "sources", "packages"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir, architecture: architecture}
	return a, os.WriteFile(filepath.Join(dir, "sources", "board.sources"), []byte(stanza), 0o644)
}

// update fetches the suite's list of packages.
func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, "apt-get", "-q", "update", "--error-on=any")
	return err
}

// names returns the packages whose names begin with prefix.
func (a *apt) names(ctx context.Context, prefix string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "pkgnames", prefix)
	return strings.Fields(out), err
}

// version returns the newest version of a package.
func (a *apt) version(ctx context.Context, name string) (string, error) {
	out, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if v, ok := strings.CutPrefix(line, "Version: "); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("debian: apt-cache show %s has no version", name)
}

// download fetches and verifies one package, NAME or NAME=VERSION, and returns the name of
// the file.
func (a *apt) download(ctx context.Context, name string) (string, error) {
	if _, err := a.run(ctx, "apt-get", "-q", "download", name); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(a.dir, "packages", "*.deb"))
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", fmt.Errorf("debian: apt-get download %s left %d files, want one", name, len(files))
	}
	return files[0], nil
}

func (a *apt) run(ctx context.Context, name string, args ...string) (string, error) {
	options := []string{
		"-o", "Dir::State=" + a.dir,
		"-o", "Dir::State::lists=" + filepath.Join(a.dir, "lists"),
		"-o", "Dir::State::status=/dev/null",
		"-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"-o", "Dir::Etc::sourcelist=/dev/null",
		"-o", "Dir::Etc::sourceparts=" + filepath.Join(a.dir, "sources"),
		"-o", "Dir::Etc::preferences=/dev/null",
		"-o", "Dir::Etc::preferencesparts=/dev/null",
		"-o", "APT::Architecture=" + a.architecture,
		"-o", "APT::Architectures::=" + a.architecture,
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::Retries=3",
		"-o", "APT::Update::Post-Invoke-Success::=true",
		// The sandbox user of apt cannot enter the cache directory of root.
		"-o", fmt.Sprintf("APT::Sandbox::User=%d", os.Geteuid()),
	}
	cmd := exec.CommandContext(ctx, name, append(options, args...)...)
	cmd.Dir = filepath.Join(a.dir, "packages")
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("debian: %w; boards need a Debian machine, or a filled cache directory", err)
	}
	if err != nil {
		return "", fmt.Errorf("debian: %s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
