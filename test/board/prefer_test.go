//go:build board

package board_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"uringhttpd/platform"
	"uringhttpd/test/board"
)

// testPrefer: crypto.prefer has the kernel pick another driver while the daemon runs,
// and what it was before comes back: when it stops, and after a crash when the next one
// starts that wants something else.
func testPrefer(ctx context.Context, t *testing.T, m *board.Machine) {
	with := func(prefer string) string { return autoConfig + "crypto: {prefer: " + prefer + "}\n" }
	keep := runDoctor(ctx, t, m, autoConfig)
	if keep.GCM[0].Driver != "gcm-aes-caam" {
		t.Fatalf("the kernel picks %+v", keep.GCM)
	}
	if r := runDoctor(ctx, t, m, with("cpu")); r.Status != 1 || !strings.Contains(r.Verdict, "crypto.prefer is cpu, and the kernel picks gcm-aes-caam") {
		t.Errorf("nothing runs: %d, %s", r.Status, r.Verdict)
	}
	d := newDead(ctx, t, m)
	run := func(when, prefer string, hardware bool) {
		t.Helper()
		var err error
		if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: with(prefer)}); err != nil {
			t.Fatal(err)
		}
		if r := runDoctor(ctx, t, m, with(prefer)); r.Status != 0 || r.GCM[0].Hardware != hardware {
			t.Errorf("%s: got %+v", when, r)
		}
		before, stat := counters(ctx, t, m), tlsTxSw(ctx, t, m)
		const n = 6
		if r := d.short().download(ctx, t, board.TLSPort, n, 0, time.Minute); r.Complete != n {
			t.Errorf("%s: %+v", when, r)
		}
		if got := tlsTxSw(ctx, t, m) - stat; got != n {
			t.Errorf("%s: %d connections in kernel TLS, want %d", when, got, n)
		}
		if used := counters(ctx, t, m)["requests"] > before["requests"]; used != hardware {
			t.Errorf("%s: the engine is used: %t, want %t", when, used, hardware)
		}
	}
	restored := func(when string) {
		t.Helper()
		r := runDoctor(ctx, t, m, autoConfig)
		for i, a := range keep.GCM {
			if b, ok := find(r.GCM, a.Driver); !ok || b.Priority != a.Priority || i == 0 && r.GCM[0].Driver != a.Driver {
				t.Errorf("%s: got %+v, want %+v", when, r.GCM, keep.GCM)
				return
			}
		}
	}
	stop := func() {
		t.Helper()
		if err := d.p.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	run("cpu", "cpu", false)
	stop()
	restored("cpu, stopped")
	run("cpu again", "cpu", false)
	crash(ctx, t, d.p)
	run("cpu, after a crash", "cpu", false)
	stop()
	restored("cpu, after a crash, stopped")
	run("cpu once more", "cpu", false)
	crash(ctx, t, d.p)
	run("hardware, after a crash", "hardware", true)
	restored("hardware, after a crash")
	stop()
	run("cpu for the last time", "cpu", false)
	crash(ctx, t, d.p)
	run("keep, after a crash", "keep", true)
	restored("keep, after a crash")
	stop()
}

func find(all []platform.Algorithm, driver string) (platform.Algorithm, bool) {
	for _, a := range all {
		if a.Driver == driver {
			return a, true
		}
	}
	return platform.Algorithm{}, false
}

// crash ends a daemon without a word.
func crash(ctx context.Context, t *testing.T, p *board.Process) {
	t.Helper()
	if err := p.Signal(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(ctx, t, p)
}
