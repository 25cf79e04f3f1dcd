//go:build board

package board_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"uringhttpd/offload/priority"
	"uringhttpd/platform/cryptoapi"
	"uringhttpd/test/board"
	"uringhttpd/test/caamsim"
)

// testPrefer: crypto.prefer makes the kernel select another driver while the daemon runs. The
// old order comes back when the daemon stops, and after a crash when a daemon with another
// setting starts.
func testPrefer(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	with := func(prefer string) string { return autoConfig + "crypto: {prefer: " + prefer + "}\n" }
	keep := runDoctor(ctx, t, m, autoConfig)
	if keep.GCM[0].Driver != "gcm-aes-caam" {
		t.Fatalf("the kernel selects %+v", keep.GCM)
	}
	if r := runDoctor(ctx, t, m, with("cpu")); r.Status != 1 || !strings.Contains(r.Verdict, "crypto.prefer is cpu, but the kernel selects gcm-aes-caam") {
		t.Errorf("without a daemon: %d, %s", r.Status, r.Verdict)
	}
	d := newDead(ctx, t, m)
	run := func(when, prefer string, hardware bool) {
		t.Helper()
		var err error
		if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: with(prefer)}); err != nil {
			t.Fatal(err)
		}
		if r := runDoctor(ctx, t, m, with(prefer)); r.Status != readyStatus(r) || r.GCM[0].Hardware != hardware {
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
	if e, err := m.Run(ctx, nil, board.ProgramPath, "doctor", "-bench"); err != nil || !strings.Contains(string(e.Stderr), priority.ErrInUse.Error()) {
		t.Errorf("doctor -bench beside a daemon: %v, %s", err, e.Stderr)
	}
	stop()

	// The selected driver after a crash is not the driver from before the daemon.
	run("cpu, before the engine is wrong", "cpu", false)
	crash(ctx, t, d.p)
	func() {
		tune(ctx, t, m, "corrupt_every=1")
		var err error
		if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: with("keep")}); err != nil {
			t.Fatal(err)
		}
		d.serves(ctx, t, "keep, after a crash, with a wrong engine")
		stop()
		run("cpu, and the engine is wrong", "cpu", false)
		crash(ctx, t, d.p)
	}()
	if err := m.WriteFile(ctx, caamsim.Parameters+"corrupt_every", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	if e, err := m.Run(ctx, nil, board.ProgramPath, "serve", "-restore"); err != nil || e.Status != 0 {
		t.Errorf("serve -restore: %+v, %v", e, err)
	}
	restored("serve -restore")
	if effort == brief {
		return
	}
	t.Run("bench", func(t *testing.T) { testBench(ctx, t, m); restored("bench") })
	t.Run("auto", func(t *testing.T) { testAuto(ctx, t, m, with("auto")); restored("auto") })
}

// A measurement is a result of doctor -bench.
type measurement struct {
	Where, Driver string
	Hardware      bool
	Streams       int
	Rate          float64 `json:"mib_per_second"`
}

// slowEngine makes 50 records a second, however many are queued.
var slowEngine = []string{"delay_us=20000", "depth=1"}

// testBench: doctor -bench measures every driver that can encrypt, and does not report a slow
// engine as the fastest.
func testBench(ctx context.Context, t *testing.T, m *board.Machine) {
	tune(ctx, t, m, slowEngine...)
	e, err := m.Run(ctx, nil, board.ProgramPath, "doctor", "-bench", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ Bench []measurement }
	if err := json.Unmarshal(e.Stdout, &report); err != nil {
		t.Fatalf("%v in %q, %q", err, e.Stdout, e.Stderr)
	}
	rates := map[string]float64{}
	for _, b := range report.Bench {
		t.Logf("%+v", b)
		kind := b.Where
		if b.Hardware {
			kind = "engine"
		}
		rates[fmt.Sprint(kind, b.Streams)] = b.Rate
	}
	for _, kind := range []string{"user space", "kernel", "engine"} {
		if rates[kind+"1"] <= 0 || rates[kind+"4"] <= 0 {
			t.Errorf("%s was not measured: %s", kind, e.Stderr)
		}
	}
	if rates["engine4"] > rates["kernel4"] {
		t.Errorf("a slow engine is measured to be faster: %v", rates)
	}
	e, err = m.Run(ctx, nil, board.ProgramPath, "doctor", "-bench")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", e.Stdout)
	if text := string(e.Stdout); !strings.Contains(text, "bench: the fastest is ") || strings.Contains(text, "the fastest is kernel TLS with gcm-aes-caam") {
		t.Error("doctor does not name the fastest driver")
	}
}

// testAuto: crypto.prefer: auto measures once, and makes the kernel prefer the faster driver.
func testAuto(ctx context.Context, t *testing.T, m *board.Machine, config string) {
	const path = "/var/lib/uringhttpd/measured.json"
	d := newDead(ctx, t, m)
	start := func(when string, measures bool) (hardware bool) {
		t.Helper()
		var err error
		if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: config}); err != nil {
			t.Fatal(err)
		}
		before := counters(ctx, t, m)
		if r := d.short().download(ctx, t, board.TLSPort, 6, 0, time.Minute); r.Complete != 6 {
			t.Errorf("%s: %+v", when, r)
		}
		hardware = counters(ctx, t, m)["requests"] > before["requests"]
		if err := d.p.Stop(ctx); err != nil {
			t.Error(err)
		}
		e, err := d.p.Output(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(e.Stderr), "measured the drivers of gcm(aes)"); got != measures {
			t.Errorf("%s: the daemon measures: %t, want %t:\n%s", when, got, measures, e.Stderr)
		}
		return hardware
	}
	tune(ctx, t, m, slowEngine...)
	if start("a slow engine", true) {
		t.Error("a slow engine is preferred")
	}
	if start("a slow engine, again", false) {
		t.Error("a slow engine is preferred, the second time")
	}
	// The stored result belongs to this kernel: another kernel is measured again.
	text, err := m.ReadFile(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile(ctx, path, bytes.Replace(text, []byte(`"kernel": "`), []byte(`"kernel": "x`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	start("another kernel", true)
	// The stored result decides: here it says that the engine was faster.
	if text, err = m.ReadFile(ctx, path); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile(ctx, path, bytes.Replace(text, []byte(`"hardware": false`), []byte(`"hardware": true`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if !start("a fast engine", false) {
		t.Error("an engine that was measured to be faster is not preferred")
	}
}

func find(all []cryptoapi.Algorithm, driver string) (cryptoapi.Algorithm, bool) {
	for _, a := range all {
		if a.Driver == driver {
			return a, true
		}
	}
	return cryptoapi.Algorithm{}, false
}

// crash kills a daemon.
func crash(ctx context.Context, t *testing.T, p *board.Process) {
	t.Helper()
	if err := p.Signal(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(ctx, t, p)
}
