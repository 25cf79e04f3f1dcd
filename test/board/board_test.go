//go:build board

package board_test

import (
	"context"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/wrong"
)

var (
	cacheFlag  = flag.String("board.cache", "", "directory that keeps kernels; default uringhttpd-boards in the user's cache directory")
	sourceFlag = flag.String("board.source", "", "directory of a program to test in place of the module's own")
	fullFlag   = flag.Bool("board.full", false, "boot every board with every engine, and test each in full; default a part of them")
	onlyFlag   = flag.String("board.only", "", "the boards to boot, such as amd64-sync,armv7-cryptd, briefly without -board.full; default all")
)

// An effort is the amount of testing on one machine without -board.full.
type effort int

const (
	left  effort = iota // not booted
	brief               // fewer sharp downloads, and no wrong builds
	whole               // as with -board.full
)

// asked returns the effort that the flags ask for.
func (e effort) asked() effort {
	switch {
	case *fullFlag:
		return whole
	case *onlyFlag != "":
		return brief
	}
	return e
}

// boots lists every machine that the suite can boot. Each board boots with an asynchronous
// engine at any effort.
var boots = []struct {
	board  board.Board
	engine board.Engine
	effort effort
}{
	// The machines with the longest tests come first; -parallel limits how many run at once.
	{board.AMD64_612, board.Cryptd, whole},
	{board.AMD64_612, board.CAAM, brief},
	{board.AArch32_612, board.Pcrypt, brief},
	{board.ARMv7_612, board.Cryptd, brief},
	{board.ARMv7_612, board.Pcrypt, left},
	{board.ARMv7_612, board.Sync, left},
	{board.AArch32_612, board.Sync, left},
	{board.ARM64_612, board.Pcrypt, brief},
	{board.ARM64_612, board.Sync, left},
	{board.IMX8MP_612, board.Sync, left},
	{board.AMD64_612, board.Pcrypt, left},
	{board.AMD64_612, board.Sync, brief},
	{board.AMD64_61, board.Pcrypt, brief},
	{board.AMD64_New, board.Pcrypt, brief},
	{board.AMD64_61, board.Sync, left},
	{board.AMD64_New, board.Sync, left},
	{board.AMD64_61, board.CAAM, left},
	{board.ARM64_612, board.CAAM, left},
	{board.ARMv7_612, board.CAAM, left},
	{board.ARMv7_612, board.Accelerated, left},
	{board.ARM64_612, board.Accelerated, left},
	{board.AMD64_612, board.Accelerated, brief},
}

// TestBoards boots each machine once and runs all tests of a board in it.
func TestBoards(t *testing.T) {
	t.Parallel()
	cache := *cacheFlag
	if cache == "" {
		var err error
		if cache, err = board.DefaultCache(); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range boots {
		name := e.board.String() + "-" + e.engine.String()
		if *onlyFlag != "" && !strings.Contains(","+*onlyFlag+",", ","+name+",") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			effort := e.effort.asked()
			if effort == left {
				t.Skip("left for make test-all")
			}
			sharpDownloads := 96
			if effort == brief {
				sharpDownloads = 48
			}
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
			defer cancel()
			program := filepath.Join(t.TempDir(), "uringhttpd")
			if err := e.board.Build(ctx, board.Build{Package: *sourceFlag, Output: program}); err != nil {
				t.Fatal(err)
			}
			spec := board.Spec{Board: e.board, Engine: e.engine, Program: program, Cache: cache}
			if e.engine == board.Sync {
				// The other machines test clients without it.
				spec.Modules = e.board.ChaChaModules()
			}
			if e.engine == board.CAAM {
				spec.Modules = []string{"crypto_user"}
			}
			if e.engine.Async() && effort == whole {
				var err error
				if spec.Wrong, err = wrongBuilds(ctx, e.board, t.TempDir(), mutants...); err != nil {
					t.Fatal(err)
				}
			}
			if e.engine == board.Accelerated && effort == whole {
				var err error
				if spec.Wrong, err = wrongBuilds(ctx, e.board, t.TempDir(), wrong.MarkTrusted); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			m, err := board.Boot(ctx, spec)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("Linux %s (%s), %s, booted in %v", m.Hello.Kernel, m.Hello.Machine, m.Driver, time.Since(start).Round(time.Millisecond))
			defer shutDown(t, m)
			if e.engine == board.CAAM {
				testCAAM(ctx, t, m, effort)
				return
			}
			if e.board == board.IMX8MP_612 {
				t.Run("soc", func(t *testing.T) { testSoC(ctx, t, m) })
			}
			t.Run("downloads", func(t *testing.T) { testDownloads(ctx, t, m) })
			if e.engine != board.Accelerated || effort == whole {
				t.Run("refusal", func(t *testing.T) { testRefusal(ctx, t, m) })
				t.Run("ciphers", func(t *testing.T) { testCiphers(ctx, t, m) })
			}
			t.Run("sharp", func(t *testing.T) { testSharp(ctx, t, m, sharpDownloads) })
			if e.engine == board.Accelerated {
				testAccelerated(ctx, t, m, effort)
			}
			if e.board == board.AMD64_612 && e.engine == board.Sync {
				t.Run("doctor", func(t *testing.T) { testDoctorWithout(ctx, t, m) })
			}
			if !e.engine.Async() {
				return
			}
			t.Run("mutants", func(t *testing.T) {
				if effort == brief {
					t.Skip("left for make test-all")
				}
				testMutants(ctx, t, m)
			})
			t.Run("bounds", func(t *testing.T) {
				if effort == brief {
					t.Skip("left for make test-all")
				}
				testBounds(ctx, t, m, readers(e.board))
			})
		})
	}
}

// testSoC: the kernel detects the SoC of the emulated board.
func testSoC(ctx context.Context, t *testing.T, m *board.Machine) {
	id, err := m.ReadFile(ctx, board.SoCPath)
	if got, want := strings.TrimSpace(string(id)), "i.MX8MP"; err != nil || got != want {
		t.Errorf("%s: got %q, %v, want %q", board.SoCPath, got, err, want)
	}
}

// testRefusal: on a kernel whose administrator has disabled io_uring, the daemon does not
// start, and its error names the sysctl.
func testRefusal(ctx context.Context, t *testing.T, m *board.Machine) {
	if m.Spec.Board == board.AMD64_61 {
		t.Skip("Linux 6.1 has no sysctl that disables io_uring; 6.6 introduced it")
	}
	const sysctl = "kernel.io_uring_disabled"
	if err := m.Sysctl(ctx, sysctl, "2"); err != nil {
		t.Fatal(err)
	}
	p, err := m.StartDaemon(ctx, board.Daemon{})
	switch {
	case err == nil:
		t.Error("the daemon started")
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
	case !strings.Contains(err.Error(), "status 1 ") || !strings.Contains(err.Error(), sysctl):
		t.Errorf("got %v; want status 1, and the sysctl's name", err)
	}
	if err := m.Sysctl(ctx, sysctl, "0"); err != nil {
		t.Fatal(err)
	}
}

// testSharp: no download is truncated with any engine, and the daemon is back at its baseline
// after the downloads.
func testSharp(ctx context.Context, t *testing.T, m *board.Machine, downloads int) {
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	base := warm(ctx, t, m, p)
	r, err := board.RunSharp(ctx, m, board.SharpOptions{Process: p, Downloads: downloads})
	if err != nil {
		t.Fatal(err)
	}
	if r.Complete != downloads {
		t.Errorf("%d of %d downloads are complete, want all: %+v", r.Complete, downloads, r)
	}
	if n := r.Ends["close_notify"]; n != r.Connections {
		t.Errorf("%d of %d connections ended with close_notify, want all", n, r.Connections)
	}
	leave(ctx, t, m, downloads/2)
	t.Run("leaks", func(t *testing.T) { checkLeaks(ctx, t, p, base) })
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// tlsTxSw returns how often kernel TLS was enabled for sending since boot.
func tlsTxSw(ctx context.Context, t *testing.T, m *board.Machine) int64 {
	t.Helper()
	stat, err := m.TLSStat(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := stat[board.TxSw]
	if !ok {
		t.Fatalf("no counter in %v", stat)
	}
	return n
}
