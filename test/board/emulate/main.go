// Emulate boots an emulated i.MX 8M Plus that serves a sample file with the program of this
// module, reachable from this machine, until Ctrl-C: make board.
//
// The board is QEMU's model of NXP's evaluation kit with Debian's kernel, and its network is
// the board's own Ethernet. QEMU has no CAAM. Kernel and emulator are kept in the user's cache
// directory; all other files are removed at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/pattern"
)

// sample is the file to download; an odd size that matches no buffer.
const sample = "firmware.raucb"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "emulate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	cache, err := board.DefaultCache()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "uringhttpd-board-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	fmt.Println("Building the program, and booting the board. The first time fetches a kernel and QEMU.")
	spec := board.Spec{
		Board:     board.IMX8MP_612,
		Program:   filepath.Join(dir, "uringhttpd"),
		Cache:     cache,
		MemoryMiB: 1024,
		CPUs:      4,
		Modules:   []string{"ghash_ce", "aes_ce_blk"}, // the modules that the real chip would load
	}
	if err := spec.Board.Build(ctx, board.Build{Output: spec.Program, Flags: []string{"-ldflags=-s -w"}}); err != nil {
		return unlessEnded(ctx, err)
	}
	m, err := board.Boot(ctx, spec)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() {
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		err = errors.Join(err, m.Close())
		fmt.Println("The board is off.")
	}()
	return serve(ctx, m, dir)
}

// unlessEnded returns err, but nil after Ctrl-C, which makes each stopped step fail in its own way.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve starts the service on the board, prints how to reach it, and shows its log.
func serve(ctx context.Context, m *board.Machine, dir string) error {
	if err := m.MakeFile(ctx, board.Root+"/"+sample, pattern.Content{Seed: 0x8e11, Size: 8<<20 + 1}); err != nil {
		return err
	}
	daemon, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		return err
	}
	address, err := m.Forward(ctx, board.TLSPort)
	if err != nil {
		return err
	}
	roots, err := m.Roots()
	if err != nil {
		return err
	}
	cert := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(cert, roots, 0o644); err != nil {
		return err
	}
	soc, err := m.ReadFile(ctx, board.SoCPath)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s with Linux %s\n\n$ uringhttpd doctor\n", strings.TrimSpace(string(soc)), m.Hello.Kernel)
	// The verdict is in the output, so the exit status is not needed.
	doctor, err := m.Run(ctx, nil, board.ProgramPath, "doctor", "-config", board.ConfigPath)
	if err != nil {
		return err
	}
	fmt.Printf("%s%s\nThe board listens on %s:\n\n  curl -O --cacert %s https://localhost:%s/%s\n\nCtrl-C stops it. The service's log:\n",
		doctor.Stdout, doctor.Stderr, address, cert, port, sample)
	return follow(ctx, daemon)
}

// follow prints the daemon's output until the context or the daemon ends.
func follow(ctx context.Context, daemon *board.Process) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for printed := int64(0); ; {
		e, err := daemon.Output(ctx)
		if err != nil {
			return err
		}
		unseen := max(0, printed-e.Dropped)
		os.Stdout.Write(e.Stderr[min(unseen, int64(len(e.Stderr))):])
		printed = e.Dropped + int64(len(e.Stderr))
		if e.Exited {
			return fmt.Errorf("the service ended with status %d and signal %d", e.Status, e.Signal)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			fmt.Println()
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			return daemon.Stop(stopCtx)
		}
	}
}
