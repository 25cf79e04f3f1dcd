//go:build board

package board_test

import (
	"context"
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

// testQueues: a queue on the board drops packets that TCP has already counted as sent. All
// downloads are complete, the bytes inside kernel TLS stay below their bound, and none remain.
func testQueues(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	// The rate is so low that the socket's buffer is full when a response ends: records that the
	// engine has encrypted by then have no room.
	const rate = 2 << 20
	tune(ctx, t, m, "delay_us=1000")
	restore, err := m.SetSysctl(ctx, "net.ipv4.tcp_wmem", "4096 16384 16384")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := restore(); err != nil {
			t.Error(err)
		}
	}()
	for _, q := range []struct {
		name  string
		brief bool
		set   func() error
	}{
		{"token bucket", true, func() error { return m.TokenBucket(ctx, rate, 40<<10) }},
		{"fair queue", false, func() error { return m.FairQueue(ctx, rate, 2) }},
	} {
		t.Run(q.name, func(t *testing.T) {
			if effort == brief && !q.brief {
				t.Skip("left for make test-all")
			}
			r, drops, lines := dropping(ctx, t, m, "", q.set)
			if r.Complete != queuedDownloads || r.Ends["close_notify"] != queuedDownloads {
				t.Errorf("got %+v, want all complete and ended by close_notify", r)
			}
			if drops == 0 {
				t.Error("no packet was dropped; the test proves nothing")
			}
			most := 0
			for _, line := range lines {
				found := regexp.MustCompile(` pending_max=(-?\d+)`).FindStringSubmatch(line)
				if found == nil {
					t.Errorf("logged: %s", line)
					continue
				}
				n, err := strconv.Atoi(found[1])
				if err != nil || n < 0 || n > 256<<10 {
					t.Errorf("logged: %s", line)
				}
				most = max(most, n)
			}
			t.Logf("%d packets dropped, pending_max %d", drops, most)
		})
		t.Run("wrong: "+wrong.NoDrain.Name+", "+q.name, func(t *testing.T) {
			if effort == brief {
				t.Skip("left for make test-all")
			}
			r, drops, _ := dropping(ctx, t, m, wrong.NoDrain.Name, q.set)
			t.Logf("%d packets dropped, %+v", drops, r)
			if r.Complete == queuedDownloads && r.Ends["close_notify"] == queuedDownloads {
				t.Error("not caught: all downloads are complete")
			}
		})
	}
}

const queuedDownloads = 16

// dropping makes downloads through a queue of the loopback device, and returns their result,
// the number of packets dropped, and the daemon's log.
func dropping(ctx context.Context, t *testing.T, m *board.Machine, program string, queue func() error) (client.Result, int64, []string) {
	t.Helper()
	content := pattern.Content{Seed: 0x0dd, Size: 256<<10 + 1}
	const name = "/queued.bin"
	if err := m.MakeFile(ctx, board.Root+name, content); err != nil {
		t.Fatal(err)
	}
	config := board.DefaultConfig + "limits:\n  stall_timeout: 20s\n"
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	var base board.Held
	if program == "" {
		base = warm(ctx, t, m, p)
	}
	if err := queue(); err != nil {
		t.Fatal(err)
	}
	r := ways[0].download(ctx, t, m, client.Options{
		Path: name, Content: &content, Downloads: queuedDownloads, Parallel: 8, Timeout: time.Minute,
	})
	drops, err := m.Dropped(ctx)
	if err != nil {
		t.Error(err)
	}
	if program == "" {
		complete(ctx, t, m, 1, ways...)
	}
	if err := m.NoQueue(ctx); err != nil {
		t.Fatal(err)
	}
	if program == "" {
		checkLeaks(ctx, t, p, base)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	var lines []string
	for _, line := range logLines(ctx, t, p) {
		if strings.Contains(line, name) || strings.Contains(line, "level=WARN") {
			lines = append(lines, line)
		}
	}
	return r, drops, lines
}
