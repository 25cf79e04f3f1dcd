//go:build board

package board_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

const (
	leakPatience  = time.Minute // workers of io_uring end after some seconds
	wrongPatience = 7 * time.Second
)

// warm applies a little of each load to a fresh daemon, and returns its resources when it is
// idle again: the descriptors after its start, and caches at their working size.
func warm(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process) board.Held {
	t.Helper()
	const few = 8
	start, err := p.Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := board.RunSharp(ctx, m, board.SharpOptions{Process: p, Downloads: few}); err != nil {
		t.Fatal(err)
	}
	leave(ctx, t, m, few)
	start.Slab = nil
	base, err := p.AwaitHeld(ctx, start, leakPatience)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// checkLeaks fails if the daemon holds more than at its baseline.
func checkLeaks(ctx context.Context, t *testing.T, p *board.Process, base board.Held) {
	t.Helper()
	after, err := p.AwaitHeld(ctx, base, leakPatience)
	if err != nil {
		t.Error(err)
	}
	var grown []string
	for name, n := range after.Slab {
		if d := n - base.Slab[name]; d != 0 {
			grown = append(grown, name+" "+strconv.Itoa(d))
		}
	}
	t.Logf("idle: %v, %d threads and %d of io_uring, %d bytes locked; change of objects: %s",
		after.FDs, after.Threads, after.Workers, after.Locked, strings.Join(grown, ", "))
}

// leave starts n downloads on the board, and closes each in the middle.
func leave(ctx context.Context, t *testing.T, m *board.Machine, n int) {
	t.Helper()
	const name = "/leave.bin"
	if err := m.MakeFile(ctx, board.Root+name, pattern.Content{Seed: 0x1eaf, Size: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	roots, err := m.Roots()
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Download(ctx, client.Options{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(board.TLSPort)), Path: name, Roots: roots,
		Downloads: n, Parallel: 8, ReadSize: 4096, Pause: 50 * time.Millisecond, Timeout: time.Second,
	})
	if err != nil || r.Errors["timeout"] != n {
		t.Errorf("got %+v, %v, want %d downloads closed in the middle", r, err, n)
	}
}

// testWrongLeak: the check for leaks catches a daemon that leaks, by its descriptors and by
// the kernel's objects.
func testWrongLeak(ctx context.Context, t *testing.T, m *board.Machine) {
	const downloads = 48
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: wrong.PipesKept.Name})
	if err != nil {
		t.Fatal(err)
	}
	base, err := p.Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := board.RunSharp(ctx, m, board.SharpOptions{Process: p, Downloads: downloads}); err != nil {
		t.Fatal(err)
	}
	_, err = p.AwaitHeld(ctx, base, wrongPatience)
	if !errors.Is(err, board.ErrLeak) || !strings.Contains(err.Error(), "descriptors, pipe: ") || !strings.Contains(err.Error(), "objects, filp: ") {
		t.Errorf("not caught: %v", err)
	}
	t.Log(err)
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}
