//go:build board

package board_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

const (
	shortMemory  = 112 // MiB, of which the kernel leaves 69; with 96 it does not boot
	shortClients = 24
	shortPart    = 8 << 20 // of each client
)

// TestMemory downloads much more than fits into the memory of a small board, from a disk, to
// many slow clients. All downloads complete, the kernel kills no process, and never lacks
// memory itself. A mutant that holds whole files in memory is caught.
func TestMemory(t *testing.T) {
	if !*fullFlag && !strings.Contains(","+*onlyFlag+",", ",amd64-memory,") {
		t.Skip("left for make test-all")
	}
	t.Parallel()
	t.Run("right", func(t *testing.T) {
		complete, err := short(t)
		if complete != shortClients || err != nil {
			t.Errorf("%d of %d downloads are complete: %v", complete, shortClients, err)
		}
	})
	t.Run("wrong: "+wrong.WholeFiles.Name, func(t *testing.T) {
		complete, err := short(t, wrong.WholeFiles)
		t.Logf("%d complete: %v", complete, err)
		if complete == shortClients && err == nil {
			t.Error("not caught")
		}
	})
}

// short boots a board with little memory and a daemon, or a mutant if one is given. It returns
// how many downloads were complete, and an error with the failures.
func short(t *testing.T, variant ...wrong.Variant) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cache := *cacheFlag
	if cache == "" {
		var err error
		if cache, err = board.DefaultCache(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	spec := board.Spec{
		Board: board.AMD64_612, Engine: board.Cryptd, Cache: cache, MemoryMiB: shortMemory,
		Program: filepath.Join(dir, "uringhttpd"), Disk: filepath.Join(dir, "disk.img"),
	}
	build := board.Build{Package: *sourceFlag, Output: spec.Program, Flags: []string{"-ldflags=-s -w"}}
	for _, v := range variant {
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		overlay, err := v.Overlay(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		build.Flags = append(build.Flags, "-overlay", overlay)
	}
	if err := spec.Board.Build(ctx, build); err != nil {
		t.Fatal(err)
	}
	content := pattern.Content{Seed: 0x3e3, Size: shortClients * shortPart}
	if err := board.MakeDisk(ctx, spec.Disk, content.Size+64<<20, map[string]pattern.Content{"huge.bin": content}); err != nil {
		t.Fatal(err)
	}
	m, err := board.Boot(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	complete, err := downloadShort(ctx, t, m, content)
	return complete, errors.Join(err, m.Close())
}

func downloadShort(ctx context.Context, t *testing.T, m *board.Machine, content pattern.Content) (int, error) {
	if _, err := m.MountDisk(ctx); err != nil {
		return 0, err
	}
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		return 0, err
	}
	var complete atomic.Int32
	var downloads sync.WaitGroup
	for i := range shortClients {
		downloads.Add(1)
		go func() {
			defer downloads.Done()
			w := ways[2+i%2]
			r := w.download(ctx, t, m, client.Options{
				Path: "/disk/huge.bin", Content: &content, Offset: int64(i) * shortPart, Length: shortPart,
				ReadSize: 16 << 10, Pause: 4 * time.Millisecond, Timeout: 5 * time.Minute,
			})
			complete.Add(int32(r.Complete))
			if r.Complete != 1 {
				t.Logf("%s: %+v", w.name, r)
			}
		}()
	}
	downloads.Wait()
	info, err := m.ReadFile(ctx, "/proc/meminfo")
	if err != nil {
		return int(complete.Load()), err
	}
	u, err := p.Usage(ctx)
	if err != nil {
		return int(complete.Load()), err
	}
	t.Logf("the daemon has %d KiB; %.120q", u.RSS>>10, info)
	errs := []error{p.Stop(ctx)}
	for _, line := range logLines(ctx, t, p) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			errs = append(errs, errors.New(line))
		}
	}
	return int(complete.Load()), errors.Join(errs...)
}
