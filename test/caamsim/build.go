package caamsim

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"uringhttpd/test/board/debian"
)

// Name is the name of the module; Driver is its driver's name in /proc/crypto.
const (
	Name   = "caamsim"
	Driver = "gcm-aes-caam"
)

// Parameters is the directory of the parameters of the loaded module.
const Parameters = "/sys/module/" + Name + "/parameters/"

//go:embed module/Kbuild module/caamsim.c
var source embed.FS

// sources are the names of the files in source.
var sources = []string{"Kbuild", "caamsim.c"}

// Build returns the module for a kernel that was requested from package debian. The module comes
// from the directory cache, or is built into it.
func Build(ctx context.Context, cache string, want debian.Want, k *debian.Kernel) (debian.Module, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, k.Package)
	files := map[string][]byte{}
	for _, name := range sources {
		b, err := source.ReadFile("module/" + name)
		if err != nil {
			return debian.Module{}, fmt.Errorf("caamsim: %w", err)
		}
		files[name] = b
		sum.Write(b)
	}
	shelf := filepath.Join(cache, Name)
	built := filepath.Join(shelf, hex.EncodeToString(sum.Sum(nil))+".ko")
	data, err := os.ReadFile(built)
	if errors.Is(err, os.ErrNotExist) {
		headers, err := debian.FetchHeaders(ctx, cache, want, k)
		if err != nil {
			return debian.Module{}, err
		}
		if err := build(ctx, shelf, built, headers, files); err != nil {
			return debian.Module{}, fmt.Errorf("caamsim: for Linux %s: %w", k.Release, err)
		}
		data, err = os.ReadFile(built)
		if err != nil {
			return debian.Module{}, fmt.Errorf("caamsim: %w", err)
		}
	} else if err != nil {
		return debian.Module{}, fmt.Errorf("caamsim: %w", err)
	}
	return debian.Module{Name: Name, Data: data}, nil
}

// build compiles files in their own directory below shelf. Two processes may do so at once,
// since they build the same module.
func build(ctx context.Context, shelf, built, headers string, files map[string][]byte) error {
	if err := os.MkdirAll(shelf, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(shelf, "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	// The headers name the architecture and the compiler. BTF would need the package dwarves,
	// and the tests do not read it.
	cmd := exec.CommandContext(ctx, "make", "-C", headers, "M="+dir, "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%q: %w; if a compiler is missing, install gcc-aarch64-linux-gnu and gcc-arm-linux-gnueabihf\n%s", cmd.Args, err, out)
	}
	return os.Rename(filepath.Join(dir, Name+".ko"), built)
}
