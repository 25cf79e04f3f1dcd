//go:build board

package board_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

// engineContent is so small that one record has head and body.
var engineContent = pattern.Content{Seed: 0xae4d, Size: 1000}

// testEngineFaults: the engine fails, or corrupts, one record after the other of a
// response that has two, and of one that has many: the first, one amid the rest, the
// last of what is spliced, the file's end, and close_notify.
func testEngineFaults(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	large := pattern.Content{Seed: 0x1a43e, Size: 256 << 10}
	for name, c := range map[string]*pattern.Content{"/record.bin": &engineContent, "/records.bin": &large} {
		if err := m.MakeFile(ctx, board.Root+name, *c); err != nil {
			t.Fatal(err)
		}
	}
	// Where the daemon only waits for the engine, it may be this that ends the wait.
	p, err := m.StartDaemon(ctx, board.Daemon{Config: board.DefaultConfig + "limits:\n  stall_timeout: 5s\n"})
	if err != nil {
		t.Fatal(err)
	}
	base := warm(ctx, t, m, p)
	for _, f := range []struct {
		name    string
		path    string
		content *pattern.Content
		record  int
		body    bool // may be whole: the record is close_notify
		brief   bool
	}{
		{"the only record", "/record.bin", &engineContent, 1, false, true},
		{"close_notify", "/record.bin", &engineContent, 2, true, true},
		{"the first record", "/records.bin", &large, 1, false, false},
		{"a record", "/records.bin", &large, 9, false, false},
		{"the last spliced record", "/records.bin", &large, 16, false, false},
		{"the end of the file", "/records.bin", &large, 17, false, false},
		{"close_notify after many", "/records.bin", &large, 18, true, false},
	} {
		for _, fault := range []string{"fail_in", "corrupt_in"} {
			t.Run(f.name+"/"+fault, func(t *testing.T) {
				if effort == brief && !f.brief {
					t.Skip("left for make test-all")
				}
				counter := map[string]string{"fail_in": "failed", "corrupt_in": "corrupted"}[fault]
				tune(ctx, t, m, "delay_us=1000", fmt.Sprintf("%s=%d", fault, f.record))
				struck, before := counters(ctx, t, m)[counter], len(logLines(ctx, t, p))
				r := ways[0].download(ctx, t, m, client.Options{Path: f.path, Content: f.content, Timeout: 30 * time.Second})
				t.Logf("%+v", r)
				if n := counters(ctx, t, m)[counter] - struck; n != 1 {
					t.Fatalf("%d records %s, want 1", n, counter)
				}
				// A reset takes what the client has not read yet, too.
				if r.Complete > 0 && !f.body || r.Corrupt != 0 || r.Ends["close_notify"] != 0 || r.Errors["timeout"] != 0 {
					t.Errorf("got %+v, want no wrong byte, no timeout and no close_notify", r)
				}
				if fault == "fail_in" && !f.body {
					told(t, ways[0], r, 1)
				}
				complete(ctx, t, m, 2, ways[0], ways[1])
				lines := 0
				for _, line := range logLines(ctx, t, p)[before:] {
					if strings.Contains(line, "path="+f.path) || strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
						t.Log(line)
						lines++
					}
				}
				if lines != 1 {
					t.Errorf("%d lines logged, want 1", lines)
				}
			})
		}
	}
	t.Run("leaks", func(t *testing.T) { checkLeaks(ctx, t, p, base) })
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Run("wrong: "+wrong.NoReset.Name, func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		testWrongEnd(ctx, t, m, &large)
	})
}

// testWrongEnd: a build that leaves the end of a connection to the kernel is caught.
func testWrongEnd(ctx context.Context, t *testing.T, m *board.Machine, content *pattern.Content) {
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: wrong.NoReset.Name})
	if err != nil {
		t.Fatal(err)
	}
	tune(ctx, t, m, "delay_us=1000", "fail_in=9")
	r := ways[0].download(ctx, t, m, client.Options{Path: "/records.bin", Content: content, Timeout: 30 * time.Second})
	if r.Ends["reset"] > 0 {
		t.Errorf("not caught: %+v", r)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}
