//go:build board

package board_test

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

// testEnded: the daemon is ended under load, one way or another.
func testEnded(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	t.Run("SIGKILL", func(t *testing.T) {
		r := killed(ctx, t, m, "")
		for i, w := range ways[:2] {
			told(t, w, r[i], endedClients)
		}
		// At once: nothing of the one before may be in the way.
		p, err := m.StartDaemon(ctx, board.Daemon{})
		if err != nil {
			t.Fatal(err)
		}
		complete(ctx, t, m, 2, ways...)
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("SIGTERM", func(t *testing.T) { testTerminated(ctx, t, m) })
	t.Run("SIGTERM twice", func(t *testing.T) { testTerminatedTwice(ctx, t, m) })
	t.Run("wrong: "+wrong.NoReset.Name, func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		if r := killed(ctx, t, m, wrong.NoReset.Name); r[0].Ends["reset"]+r[1].Ends["reset"] > 0 {
			t.Errorf("not caught: %+v", r)
		}
	})
}

const endedClients = 6 // each way

var endedContent = pattern.Content{Seed: 0xe2d, Size: 3 << 20}

// load starts slow downloads over TLS and in plain from a daemon, and returns once all
// are under way. What it returns waits for them.
func load(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process) (wait func() [2]client.Result) {
	t.Helper()
	const name = "/ended.bin"
	if err := m.MakeFile(ctx, board.Root+name, endedContent); err != nil {
		t.Fatal(err)
	}
	var results [2]client.Result
	var clients sync.WaitGroup
	for i, w := range ways[:2] {
		clients.Add(1)
		go func() {
			defer clients.Done()
			results[i] = w.download(ctx, t, m, client.Options{
				Path: name, Content: &endedContent, Downloads: endedClients, Parallel: endedClients,
				ReceiveBuffer: 4096, ReadSize: 4096, Pause: 4 * time.Millisecond, Timeout: 2 * time.Minute,
			})
		}()
	}
	eventually(ctx, t, "all downloads", func() bool {
		u, err := p.Usage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(strings.Join(u.FDs, "\n"), board.Root+name) == 2*endedClients
	})
	return func() [2]client.Result {
		clients.Wait()
		return results
	}
}

// killed kills a daemon under load, and returns what became of that.
func killed(ctx context.Context, t *testing.T, m *board.Machine, program string) [2]client.Result {
	t.Helper()
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program})
	if err != nil {
		t.Fatal(err)
	}
	wait := load(ctx, t, m, p)
	if err := p.Signal(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(ctx); err != nil {
		t.Error(err)
	}
	r := wait()
	t.Logf("%+v", r)
	return r
}

// testTerminated: whoever downloads gets all, and nobody is accepted any more.
func testTerminated(ctx context.Context, t *testing.T, m *board.Machine) {
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	wait := load(ctx, t, m, p)
	if err := p.Signal(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "a client that is refused", func() bool {
		return ways[1].download(ctx, t, m, client.Options{Path: "/", Timeout: 10 * time.Second}).Errors["dial"] == 1
	})
	for i, r := range wait() {
		if r.Complete != endedClients || i == 0 && r.Ends["close_notify"] != endedClients {
			t.Errorf("%s: got %+v, want all complete", ways[i].name, r)
		}
	}
	e, err := p.Wait(ctx)
	if err != nil || e.Status != 0 {
		t.Errorf("status %d, signal %d, %v", e.Status, e.Signal, err)
	}
}

// testTerminatedTwice: the second signal says that there is no time for that.
func testTerminatedTwice(ctx context.Context, t *testing.T, m *board.Machine) {
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	wait := load(ctx, t, m, p)
	for range 2 {
		before := len(logLines(ctx, t, p))
		if err := p.Signal(ctx, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		// Two signals at once would be one.
		eventually(ctx, t, "a word about the signal", func() bool { return len(logLines(ctx, t, p)) > before })
	}
	e, err := p.Wait(ctx)
	if err != nil || e.Status != 1 {
		t.Errorf("status %d, signal %d, %v; want status 1", e.Status, e.Signal, err)
	}
	for i, r := range wait() {
		told(t, ways[i], r, endedClients)
	}
	for _, line := range logLines(ctx, t, p) {
		if strings.Contains(line, "response cut off") && !strings.Contains(line, "the service was ended") {
			t.Errorf("logged: %s", line)
		}
	}
}
