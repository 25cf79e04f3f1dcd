//go:build board

package board_test

import (
	"context"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

// mutants are the programs that testMutants starts.
var mutants = []wrong.Variant{wrong.NoDrain, wrong.NoLinger, wrong.OnlyPOLLOUT, wrong.PipesKept}

// wrongDownloads is the number of downloads in which a mutant must be caught.
const wrongDownloads = 16

// wrongBuilds builds mutants into the directory dir.
func wrongBuilds(ctx context.Context, b board.Board, dir string, variants ...wrong.Variant) (map[string]string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	programs := map[string]string{}
	for _, v := range variants {
		overlay, err := v.Overlay(root, dir)
		if err != nil {
			return nil, err
		}
		programs[v.Name] = strings.TrimSuffix(overlay, ".json")
		err = b.Build(ctx, board.Build{Output: programs[v.Name], Flags: []string{"-overlay", overlay}})
		if err != nil {
			return nil, err
		}
	}
	return programs, nil
}

// testMutants runs the daemon with unread input, and against its memory bound. It also runs
// the tests of these promises, and of the promise of testSharp, with mutants that break them.
func testMutants(ctx context.Context, t *testing.T, m *board.Machine) {
	sharp := func(t *testing.T, program string, extra int) client.Result {
		t.Helper()
		r, err := board.RunSharp(ctx, m, board.SharpOptions{
			Daemon: board.Daemon{Wrong: program}, Downloads: wrongDownloads, Extra: extra,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", r)
		return r
	}
	const unread = 24 << 10
	t.Run("unread input", func(t *testing.T) {
		if r := sharp(t, "", unread); r.Complete != wrongDownloads {
			t.Errorf("%d of %d downloads are complete", r.Complete, wrongDownloads)
		}
	})
	t.Run("wrong: "+wrong.NoLinger.Name, func(t *testing.T) {
		if r := sharp(t, wrong.NoLinger.Name, unread); r.Truncated == 0 {
			t.Error("not caught: no download is truncated")
		}
	})
	t.Run("wrong: "+wrong.NoDrain.Name, func(t *testing.T) {
		if r := sharp(t, wrong.NoDrain.Name, 0); r.Truncated == 0 {
			t.Error("not caught: no download is truncated")
		}
	})
	t.Run("pending", func(t *testing.T) {
		if n := pendingMax(ctx, t, m, ""); n > 256<<10 {
			t.Errorf("%d bytes were inside kernel TLS, which is above 256 KiB", n)
		}
	})
	t.Run("wrong: "+wrong.PipesKept.Name, func(t *testing.T) { testWrongLeak(ctx, t, m) })
	t.Run("wrong: "+wrong.OnlyPOLLOUT.Name, func(t *testing.T) {
		if n := pendingMax(ctx, t, m, wrong.OnlyPOLLOUT.Name); n < 1<<20 {
			t.Errorf("not caught: at most %d bytes were inside kernel TLS", n)
		}
	})
}

// pendingMax downloads 8 MiB over the board's loopback, and returns the maximum of bytes
// inside kernel TLS by the daemon's access log. TCP would accept the whole file, and the
// daemon runs before all other threads, including the engine's: so the data waits for the
// engine.
func pendingMax(ctx context.Context, t *testing.T, m *board.Machine, program string) int64 {
	t.Helper()
	content := pattern.Content{Seed: 0x9e4d, Size: 8 << 20}
	const name = "/pending.bin"
	if err := m.MakeFile(ctx, board.Root+name, content); err != nil {
		t.Fatal(err)
	}
	restore, err := m.SetSysctl(ctx, "net.ipv4.tcp_wmem", "4096 16777216 16777216")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := restore(); err != nil {
			t.Error(err)
		}
	}()
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program, Nice: -20})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := m.Roots()
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Download(ctx, client.Options{
		Address: "127.0.0.1:" + strconv.Itoa(board.TLSPort), Path: name, Roots: roots, Content: &content,
		ReadSize: 16 << 10, Pause: 5 * time.Millisecond,
	})
	if err != nil || r.Complete != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	e, err := p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`path=` + name + ` .*pending_max=(\d+)`).FindSubmatch(e.Stderr)
	if found == nil {
		t.Fatalf("no pending_max for %s in the log:\n%s", name, e.Stderr)
	}
	n, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("pending_max %d", n)
	return n
}
