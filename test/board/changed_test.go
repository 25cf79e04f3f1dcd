//go:build board

package board_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/caamsim"
	"uringhttpd/test/wrong"
)

// A change is a change of a file, or of its name, during a download.
type change struct {
	name string
	do   func(ctx context.Context, m *board.Machine, path string) error
	kept bool // the open file keeps its bytes, so the download is complete
}

// A file of changedSize is just large enough to be spliced, and so small that all of it except
// the end, which the daemon keeps, can wait for the engine: 48 KiB and the head, one record each.
const (
	changedSize    = 64<<10 + 1
	changedRecords = 4
)

var (
	oldContent = pattern.Content{Seed: 0x01d, Size: changedSize}
	newContent = pattern.Content{Seed: 0x2e3, Size: changedSize}
)

// overwritten changes the first half, and leaves the second half alone.
var overwritten = change{"overwritten", func(ctx context.Context, m *board.Machine, path string) error {
	b, err := io.ReadAll(io.NewSectionReader(newContent, 0, changedSize/2))
	if err != nil {
		return err
	}
	return m.Alter(ctx, path, -1, 0, b)
}, false}

var changes = []change{
	overwritten,
	{"truncated", func(ctx context.Context, m *board.Machine, path string) error {
		return m.Alter(ctx, path, changedSize/2, 0, nil)
	}, false},
	{"truncated to 0", func(ctx context.Context, m *board.Machine, path string) error {
		return m.Alter(ctx, path, 0, 0, nil)
	}, false},
	{"appended to", func(ctx context.Context, m *board.Machine, path string) error {
		return m.Alter(ctx, path, -1, changedSize, []byte("more"))
	}, false},
	{"replaced", func(ctx context.Context, m *board.Machine, path string) error {
		return m.MakeFile(ctx, path, newContent)
	}, true},
	{"removed", func(ctx context.Context, m *board.Machine, path string) error {
		return m.Remove(ctx, path)
	}, true},
}

// testChanged: a file is changed while its records wait for a stopped engine. The engine reads
// the pages of the file itself, and so encrypts their content at that time.
func testChanged(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	base := warm(ctx, t, m, p)
	for _, c := range changes {
		for _, w := range []way{ways[0], ways[2]} {
			t.Run(c.name+", "+w.name, func(t *testing.T) {
				if effort == brief && (w.remote || c.name != overwritten.name) {
					t.Skip("left for make test-all")
				}
				r, before := changed(ctx, t, m, p, c, w)
				if !c.kept {
					wantCutOff(t, w, r, 1)
					cutOff(ctx, t, p, before, 1, "changed.bin ") // changed since it was opened, or was truncated
				} else if r.Complete != 1 || r.SHA256 != oldContent.SHA256(0, changedSize) {
					t.Errorf("%+v; want all of the old file", r)
				}
				complete(ctx, t, m, 1, ways[:2]...)
			})
		}
	}
	complete(ctx, t, m, 2, ways...)
	t.Run("leaks", func(t *testing.T) { checkLeaks(ctx, t, p, base) })
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Run("wrong: "+wrong.NoSeal.Name, func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		p, err := m.StartDaemon(ctx, board.Daemon{Wrong: wrong.NoSeal.Name})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := changed(ctx, t, m, p, overwritten, ways[0])
		if r.Complete != 1 || r.SHA256 == oldContent.SHA256(0, changedSize) || r.SHA256 == newContent.SHA256(0, changedSize) {
			t.Errorf("not caught: %+v; want a mixture, as if it were a file", r)
		}
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

// changed downloads a file that is changed while all of it except the end waits for a stopped
// engine. logged is the number of log lines before.
func changed(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process, c change, w way) (r client.Result, logged int) {
	t.Helper()
	const name = "/changed.bin"
	if err := m.MakeFile(ctx, board.Root+name, oldContent); err != nil {
		t.Fatal(err)
	}
	logged = len(logLines(ctx, t, p))
	before := counters(ctx, t, m)
	var clients sync.WaitGroup
	clients.Add(1)
	release := standStill(ctx, t, m)
	go func() {
		defer clients.Done()
		// Any result but a complete file will do.
		r = w.download(ctx, t, m, client.Options{Path: name, Timeout: time.Minute})
	}()
	defer clients.Wait()
	defer release()
	eventually(ctx, t, "all except the end in the engine", func() bool {
		return counters(ctx, t, m)["requests"]-before["requests"] >= changedRecords
	})
	if err := c.do(ctx, m, board.Root+name); err != nil {
		t.Error(err)
	}
	if n := counters(ctx, t, m)["completed"] - before["completed"]; n > 0 {
		t.Errorf("%d records were encrypted before the file had changed: the test proves nothing", n)
	}
	release() // before the daemon declares the engine dead, after 25 seconds
	clients.Wait()
	t.Logf("%+v", r)
	return r, logged
}

// standStill stops the engine. The first call of the returned function lets it continue.
func standStill(ctx context.Context, t *testing.T, m *board.Machine) (release func()) {
	t.Helper()
	set := func(value string) {
		if err := m.WriteFile(ctx, caamsim.Parameters+"stall", []byte(value), 0o644); err != nil {
			t.Error(err)
		}
	}
	set("1")
	return sync.OnceFunc(func() { set("0") })
}
