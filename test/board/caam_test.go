//go:build board

package board_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/caamsim"
	"uringhttpd/test/wrong"
)

// testCAAM runs the daemon with a model of CAAM that is slow, full, out of order, wrong, or
// dead.
func testCAAM(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	t.Run("engine", func(t *testing.T) { testEngine(ctx, t, m, effort) })
	t.Run("request fails", func(t *testing.T) { testFailure(ctx, t, m) })
	t.Run("record corrupted", func(t *testing.T) { testCorruption(ctx, t, m) })
	t.Run("doctor", func(t *testing.T) { testDoctorEngine(ctx, t, m) })
	t.Run("prefer", func(t *testing.T) { testPrefer(ctx, t, m, effort) })
	t.Run("late", func(t *testing.T) { testLate(ctx, t, m, effort) })
	t.Run("quarantine", func(t *testing.T) { testQuarantine(ctx, t, m, effort) })
	t.Run("engine stalls", func(t *testing.T) { testStall(ctx, t, m, effort) })
}

// tune sets the engine's parameters, as in "delay_us=50", until the test ends.
func tune(ctx context.Context, t *testing.T, m *board.Machine, parameters ...string) {
	t.Helper()
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		path := caamsim.Parameters + name
		before, err := m.ReadFile(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.WriteFile(ctx, path, before, 0o644); err != nil {
				t.Error(err)
			}
		})
		if err := m.WriteFile(ctx, path, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// counters reads the engine's counters since boot.
func counters(ctx context.Context, t *testing.T, m *board.Machine) map[string]int {
	t.Helper()
	text, err := m.ReadFile(ctx, caamsim.Parameters+"stats")
	if err != nil {
		t.Fatal(err)
	}
	c := map[string]int{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if c[name], err = strconv.Atoi(value); err != nil {
			t.Fatalf("stats: %q: %v", line, err)
		}
	}
	return c
}

// testEngine: the downloads are complete in whichever way the engine completes records, and
// the mutant without the drain is caught.
func testEngine(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	settings := []struct {
		name       string
		brief      bool
		parameters []string
		backlog    bool
	}{
		{"no delay", false, []string{"delay_us=0"}, false},
		{"50 us", false, []string{"delay_us=50"}, false},
		{"2 ms", false, []string{"delay_us=2000"}, false},
		{"2 ms, a small ring", true, []string{"delay_us=2000", "distribution=exponential", "depth=2"}, true},
		{"out of order between connections", false, []string{"delay_us=2000", "distribution=exponential", "order=transform"}, false},
		{"out of order", true, []string{"delay_us=2000", "distribution=uniform", "order=any"}, false},
	}
	downloads := 48
	if effort == brief {
		downloads = 16
	}
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			if effort == brief && !s.brief {
				t.Skip("left for make test-all")
			}
			tune(ctx, t, m, s.parameters...)
			before := counters(ctx, t, m)
			testSharp(ctx, t, m, downloads)
			c := counters(ctx, t, m)
			t.Logf("%v, %v before", c, before)
			if c["requests"] == before["requests"] || c["in_flight"] != 0 || (c["backlogged"] > before["backlogged"]) != s.backlog {
				t.Errorf("got %v, %v before; want more requests, none in flight, and a backlog: %t", c, before, s.backlog)
			}
		})
	}
	if effort == brief {
		return
	}
	t.Run("downloads", func(t *testing.T) {
		tune(ctx, t, m, "delay_us=200", "distribution=exponential", "order=any", "depth=4")
		testDownloads(ctx, t, m)
	})
	t.Run("wrong: "+wrong.NoDrain.Name, func(t *testing.T) {
		tune(ctx, t, m, "delay_us=2000")
		r, err := board.RunSharp(ctx, m, board.SharpOptions{Daemon: board.Daemon{Wrong: wrong.NoDrain.Name}, Downloads: wrongDownloads})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", r)
		if r.Truncated == 0 {
			t.Error("not caught: no download is truncated")
		}
	})
}

// faulty makes downloads while the engine does one fault, which counter counts, and then one
// more download, which must be complete.
func faulty(ctx context.Context, t *testing.T, m *board.Machine, counter string, parameters ...string) client.Result {
	t.Helper()
	const downloads = 16
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	tune(ctx, t, m, parameters...)
	before := counters(ctx, t, m)
	r, err := board.RunSharp(ctx, m, board.SharpOptions{Process: p, Downloads: downloads})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if n := counters(ctx, t, m)[counter] - before[counter]; n != 1 {
		t.Fatalf("%d requests %s, want 1", n, counter)
	}
	if r.Complete != downloads-1 || r.Corrupt != 0 || r.Ends["close_notify"] != r.Complete {
		t.Errorf("got %+v; want all downloads but one complete, that download not ended as if complete, and no wrong byte", r)
	}
	after, err := board.RunSharp(ctx, m, board.SharpOptions{Process: p, Downloads: 1})
	if err != nil || after.Complete != 1 {
		t.Errorf("a new connection: got %+v, %v", after, err)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	e, err := p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(e.Stderr)) {
		if strings.Contains(line, "reason=") {
			t.Log(strings.TrimSpace(line))
		}
	}
	return r
}

// testFailure: a request that the engine ends with an error aborts its connection and no
// other, and the client detects it.
func testFailure(ctx context.Context, t *testing.T, m *board.Machine) {
	tests := []struct {
		name       string
		parameters []string
	}{
		{"EIO", []string{"fail_errno=5"}},
		{"EBADMSG", []string{"fail_errno=74"}},
		{"EINVAL and a full ring", []string{"fail_errno=22", "depth=1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := faulty(ctx, t, m, "failed", append(tt.parameters, "delay_us=1000", "fail_in=100")...)
			if r.Ends["reset"] != 1 {
				t.Errorf("got %+v, want one reset", r)
			}
		})
	}
}

// testCorruption: the client rejects a record that the engine corrupted.
func testCorruption(ctx context.Context, t *testing.T, m *board.Machine) {
	r := faulty(ctx, t, m, "corrupted", "corrupt_in=100", "delay_us=1000")
	if !strings.Contains(strings.Join(r.Details, "\n"), "bad record MAC") {
		t.Errorf("got %+v, want bad record MAC", r)
	}
}

// eventually polls until ok, for conditions without an event.
func eventually(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("there never was: %s", what)
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, ctx.Err())
		}
	}
}
