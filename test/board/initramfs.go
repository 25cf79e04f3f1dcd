package board

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"uringhttpd/test/board/cpio"
	"uringhttpd/test/board/debian"
	"uringhttpd/test/board/wire"
	"uringhttpd/test/caamsim"
)

// Addresses that slirp, QEMU's user-mode network, expects of a guest; and an unused address
// of its network for the agent's connection where there is no virtio.
const (
	address      = "10.0.2.15/24"
	agentAddress = "10.0.2.100:7"
)

// buildInitramfs writes the root file system of a board into dir. It is not compressed: to
// unpack it takes an emulated processor longer than to copy it takes the host.
func buildInitramfs(ctx context.Context, dir string, spec Spec, m machine, k *debian.Kernel) (string, error) {
	agent, download := filepath.Join(dir, "agent"), filepath.Join(dir, "download")
	if err := errors.Join(
		spec.Board.Build(ctx, Build{Package: "./test/board/agent", Output: agent, Flags: []string{"-ldflags=-s -w"}}),
		spec.Board.Build(ctx, Build{Package: "./test/board/client/download", Output: download, Flags: []string{"-ldflags=-s -w"}}),
	); err != nil {
		return "", err
	}
	names := slices.Concat(m.modules, m.ciphers, modules)
	names = append(names, spec.Engine.modules(m)...)
	if spec.Disk != "" {
		names = append(names, diskModules...)
	}
	mods, err := k.Modules(ctx, append(names, spec.Modules...)...)
	if err != nil {
		return "", err
	}
	if spec.Engine == CAAM {
		mod, err := caamsim.Build(ctx, spec.Cache, m.kernel, k)
		if err != nil {
			return "", err
		}
		mods = append(mods, mod)
	}
	cfg := wire.Config{Now: time.Now(), Address: address}
	if m.bus == "" {
		cfg.Host = agentAddress
	}

	name := filepath.Join(dir, "initramfs")
	f, err := os.Create(name)
	if err != nil {
		return "", fmt.Errorf("board: %w", err)
	}
	defer f.Close()
	w := cpio.NewWriter(f)
	for _, mod := range mods {
		path := wire.ModulePath(mod.Name)
		cfg.Modules = append(cfg.Modules, path)
		if err := w.File(path, 0o644, int64(len(mod.Data)), bytes.NewReader(mod.Data)); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		return "", fmt.Errorf("board: %w", err)
	}
	for name, path := range spec.Wrong {
		if err := addFile(w, WrongPath(name), path); err != nil {
			return "", fmt.Errorf("board: root file system: %w", err)
		}
	}
	// The kernel opens /dev/console for the first process, before any mount.
	err = errors.Join(
		w.CharDevice("/dev/console", 0o600, 5, 1),
		w.File(wire.ConfigPath, 0o644, int64(len(b)), bytes.NewReader(b)),
		addFile(w, "/init", agent),
		addFile(w, DownloadPath, download),
		addFile(w, ProgramPath, spec.Program),
		w.Close(),
		f.Close(),
	)
	if err != nil {
		return "", fmt.Errorf("board: root file system: %w", err)
	}
	return name, nil
}

// WrongPath returns the path on the board of a program of Spec.Wrong.
func WrongPath(name string) string { return ProgramPath + "-" + strings.ReplaceAll(name, " ", "-") }

// addFile adds the host's file src to the archive as an executable.
func addFile(w *cpio.Writer, dst, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return w.File(dst, 0o755, st.Size(), f)
}
