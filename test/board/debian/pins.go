package debian

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pinsFile is the file of this directory that UpdatePins writes.
const pinsFile = "pins.txt"

//go:embed pins.txt
var pinsText string

// A pin is the package of Debian's archive that a test uses.
type pin struct {
	key     string // name of the pin: see Want.key and packageKey
	suite   string
	name    string
	version string // "" for a kernel: its name has the release
}

// spec returns the package in the notation of apt-get(8).
func (p pin) spec() string {
	if p.version == "" {
		return p.name
	}
	return p.name + "=" + p.version
}

// key returns the name of a kernel in pins.txt.
func (w Want) key() string { return "linux/" + w.Architecture + "/" + w.Series + "/" + w.Flavour }

// wantOf is the inverse of Want.key.
func wantOf(key string) (Want, bool) {
	f := strings.Split(key, "/")
	if len(f) != 4 || f[0] != "linux" {
		return Want{}, false
	}
	return Want{Architecture: f[1], Series: f[2], Flavour: f[3]}, true
}

// packageKey returns the name of any other package in pins.txt.
func packageKey(name, architecture string) string { return name + "/" + architecture }

// parsePins reads lines of a key, a suite and a package. Empty lines and lines that begin with
// # are ignored.
func parsePins(text string) ([]pin, error) {
	var all []pin
	number := 0
	for line := range strings.Lines(text) {
		number++
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("debian: %s:%d: %d fields, want a key, a suite and a package", pinsFile, number, len(f))
		}
		name, version, _ := strings.Cut(f[2], "=")
		if slices.ContainsFunc(all, func(p pin) bool { return p.key == f[0] }) {
			return nil, fmt.Errorf("debian: %s:%d: %s is pinned twice", pinsFile, number, f[0])
		}
		all = append(all, pin{key: f[0], suite: f[1], name: name, version: version})
	}
	return all, nil
}

// pinned returns the pin of a key.
func pinned(text, key string) (pin, error) {
	all, err := parsePins(text)
	if err != nil {
		return pin{}, err
	}
	for _, p := range all {
		if p.key == key {
			return p, nil
		}
	}
	return pin{}, fmt.Errorf("debian: %s has no line for %s: add one with any package, and run make pins", pinsFile, key)
}

// replaced writes the remedy for a pinned package that could not be fetched.
func (p pin) replaced(w io.Writer, instead string) {
	fmt.Fprintf(w, "debian: %s could not be fetched from %s; the tests run with %s. If the archive has dropped it, run make pins, run the tests of the boards, and commit %s.\n",
		p.spec(), p.suite, instead, pinsFile)
}

// shelf is the name of the directory in the cache for a pinned package.
func (p pin) shelf() string {
	return p.name + "-" + p.suite + "-" + strings.NewReplacer(":", "_", "/", "_", "~", "_").Replace(p.version)
}

// downloadPinned downloads a package in its pinned version, or in the newest version if the
// archive has dropped the pinned one.
func (a *apt) downloadPinned(ctx context.Context, name string) (string, error) {
	p, err := pinned(pinsText, packageKey(name, a.architecture))
	if err != nil {
		return "", err
	}
	deb, err := a.download(ctx, p.spec())
	if err == nil || ctx.Err() != nil {
		return deb, err
	}
	if _, showErr := a.run(ctx, "apt-cache", "show", p.spec()); showErr == nil {
		return "", err // the archive has it
	}
	deb, newestErr := a.download(ctx, name)
	if newestErr != nil {
		return "", errors.Join(err, newestErr)
	}
	p.replaced(os.Stderr, filepath.Base(deb))
	return deb, nil
}

// UpdatePins returns the text of pins.txt with each package in the newest version that
// the archive has. Comments and order are kept.
func UpdatePins(ctx context.Context) (string, error) {
	all, err := parsePins(pinsText)
	if err != nil {
		return "", err
	}
	m, err := findMirror("/etc/apt")
	if err != nil {
		return "", err
	}
	text := pinsText
	for _, p := range all {
		found, err := findNewest(ctx, m, p)
		if err != nil {
			return "", fmt.Errorf("debian: %s: %w", p.key, err)
		}
		text = strings.Replace(text, p.line(), found.line(), 1)
	}
	return text, nil
}

// line returns a pin's line in pins.txt, which has one tab between fields.
func (p pin) line() string { return p.key + "\t" + p.suite + "\t" + p.spec() + "\n" }

// findNewest finds the newest package for a pin in the archive. A kernel may move to another suite.
func findNewest(ctx context.Context, m mirror, p pin) (pin, error) {
	want, kernel := wantOf(p.key)
	search, architecture := []string{p.suite}, want.Architecture
	if kernel {
		search = suites
	} else {
		_, architecture, _ = strings.Cut(p.key, "/")
	}
	var failures []error
	for _, suite := range search {
		found, err := findIn(ctx, m, suite, architecture, func(ctx context.Context, a *apt) (pin, error) {
			if !kernel {
				version, err := a.version(ctx, p.name)
				return pin{p.key, suite, p.name, version}, err
			}
			names, err := a.names(ctx, "linux-image-")
			if err != nil {
				return pin{}, err
			}
			name, ok := pick(names, want)
			if !ok {
				return pin{}, fmt.Errorf("has no package linux-image-%s.*-%s", want.Series, want.Flavour)
			}
			return pin{key: p.key, suite: suite, name: name}, nil
		})
		if err == nil {
			return found, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", suite, err))
	}
	return pin{}, errors.Join(failures...)
}

// findIn calls find with the list of packages of one suite.
func findIn(ctx context.Context, m mirror, suite, architecture string, find func(context.Context, *apt) (pin, error)) (pin, error) {
	dir, err := os.MkdirTemp("", "pins-")
	if err != nil {
		return pin{}, err
	}
	defer os.RemoveAll(dir)
	a, err := newApt(dir, architecture, m, suite)
	if err != nil {
		return pin{}, err
	}
	if err := a.update(ctx); err != nil {
		return pin{}, err
	}
	return find(ctx, a)
}
