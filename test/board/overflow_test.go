//go:build board

package board_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
)

// There are herd connections. With as many completions at once as enough says, the
// ring's completion queue, which has room for 1024, overflows.
const (
	herd   = 1400
	enough = 1100
)

// testOverflow: a stopped daemon gets more completions than there is room for when it
// goes on. They come of requests, all of which are answered, and then of clients that
// have left, all of which are given back.
func testOverflow(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	if effort == brief {
		t.Skip("left for make test-all")
	}
	content := pattern.Content{Seed: 0x4e2d, Size: 1000}
	const name, requests = "/herd.bin", 4
	if err := m.MakeFile(ctx, board.Root+name, content); err != nil {
		t.Fatal(err)
	}
	overflows := traceOverflow(ctx, t, m)
	// Time passes for a stopped daemon, too.
	config := board.DefaultConfig + fmt.Sprintf("limits:\n  connections: %d\n  header_timeout: 10m\n  idle_timeout: 10m\n", herd+100)
	p, err := m.StartDaemon(ctx, board.Daemon{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	base := warm(ctx, t, m, p)

	// A response takes ten seconds, in which all have time to connect.
	o := client.Options{
		Path: name, Content: &content, Downloads: requests * herd, Parallel: herd, KeepAlive: true,
		ReadSize: 4096, Pause: 500 * time.Millisecond, Timeout: 5 * time.Minute,
	}
	t.Run("requests", func(t *testing.T) {
		done := make(chan client.Result, 1)
		go func() { done <- ways[1].download(ctx, t, m, o) }()
		halt(ctx, t, m, p)
		if err := p.Signal(ctx, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if r := <-done; r.Complete != o.Downloads {
			t.Errorf("got %+v, want all complete", r)
		}
		n := overflows()
		t.Logf("%d completions found no room", n)
		if n == 0 {
			t.Error("the completion queue did not overflow: this proves nothing")
		}
	})
	t.Run("clients that leave", func(t *testing.T) {
		o.Address, o.Plain, o.Downloads = net.JoinHostPort("127.0.0.1", strconv.Itoa(board.PlainPort)), true, 100*herd
		options, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		const path = "/tmp/herd.json"
		if err := m.WriteFile(ctx, path, options, 0o644); err != nil {
			t.Fatal(err)
		}
		before := overflows()
		c, err := m.Start(ctx, nil, board.DownloadPath, path)
		if err != nil {
			t.Fatal(err)
		}
		halt(ctx, t, m, p)
		if err := c.Signal(ctx, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(ctx); err != nil {
			t.Error(err)
		}
		if err := p.Signal(ctx, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		complete(ctx, t, m, 2, ways...)
		n := overflows() - before
		t.Logf("%d completions found no room", n)
		if n == 0 {
			t.Error("the completion queue did not overflow: this proves nothing")
		}
	})
	// The kernel's objects do not count: a ring keeps as many requests (io_kiocb) as it
	// ever had at once, and some of their messages.
	base.Slab = nil
	t.Run("leaks", func(t *testing.T) { checkLeaks(ctx, t, p, base) })
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// halt waits until there are connections enough, and stops the daemon; then it waits
// until a request has come on enough of them.
func halt(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process) {
	t.Helper()
	eventually(ctx, t, "a herd of connections", func() bool { return len(connections(ctx, t, m)) >= herd })
	if err := p.Signal(ctx, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waiting := 0
	defer func() { t.Logf("a request waits on %d of %d connections", waiting, len(connections(ctx, t, m))) }()
	eventually(ctx, t, "requests that wait", func() bool {
		waiting = 0
		for _, fields := range connections(ctx, t, m) {
			if !strings.HasSuffix(fields[4], ":00000000") { // tx_queue:rx_queue
				waiting++
			}
		}
		return waiting >= enough
	})
}

// connections are the lines of /proc/net/tcp6, in fields, of established connections
// to the port of plain HTTP.
func connections(ctx context.Context, t *testing.T, m *board.Machine) [][]string {
	t.Helper()
	table, err := m.ReadFile(ctx, "/proc/net/tcp6")
	if err != nil {
		t.Fatal(err)
	}
	var found [][]string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", board.PlainPort)) && f[3] == "01" {
			found = append(found, f)
		}
	}
	return found
}

// traceOverflow has the kernel note each completion for which there is no room, until
// the test ends. What it returns counts them.
func traceOverflow(ctx context.Context, t *testing.T, m *board.Machine) func() int {
	t.Helper()
	const tracing = "/sys/kernel/tracing/"
	const event = tracing + "events/io_uring/io_uring_cqe_overflow/enable"
	if err := m.Mount(ctx, "tracefs", tracing); err != nil {
		t.Fatal(err)
	}
	set := func(value string) {
		if err := m.WriteFile(ctx, event, []byte(value), 0o644); err != nil {
			t.Error(err)
		}
	}
	set("1")
	t.Cleanup(func() { set("0") })
	return func() int {
		b, err := m.ReadFile(ctx, tracing+"trace")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "io_uring_cqe_overflow:")
	}
}
