//go:build board

package board_test

import (
	"context"
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
	"uringhttpd/test/wrong"
)

// A herd has herd connections. With enough simultaneous completions, the ring's completion
// queue, which has room for 1024, overflows.
const (
	herd   = 1400
	enough = 1100
)

const (
	herdName = "/herd.bin"
	herdGate = "/tmp/herd" // exists when the herd may send its requests
)

var herdContent = pattern.Content{Seed: 0x4e2d, Size: 1000}

// herdOptions are for a herd of clients that all connect before any of them sends its request,
// and are slow then: a response takes some seconds.
func herdOptions(downloads int) client.Options {
	return client.Options{
		Path: herdName, Content: &herdContent, Downloads: downloads, Parallel: herd, KeepAlive: true, After: herdGate,
		ReadSize: 4096, Pause: 200 * time.Millisecond, Timeout: 3 * time.Minute,
	}
}

// herdConfig allows for time that passes while the daemon is stopped. The log would lose lines
// about so many requests, so it has only lines about failures.
var herdConfig = board.DefaultConfig + fmt.Sprintf("limits:\n  connections: %d\n  header_timeout: 10m\n  idle_timeout: 10m\nlog: {access: false}\n", herd+100)

// testOverflow: a stopped daemon gets more completions than the queue has room for. The
// completions are of requests, which must all be answered, and then of clients that have left,
// whose connections must all be freed.
func testOverflow(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	if effort == brief {
		t.Skip("left for make test-all")
	}
	if err := m.MakeFile(ctx, board.Root+herdName, herdContent); err != nil {
		t.Fatal(err)
	}
	overflows := traceOverflow(ctx, t, m)
	p, err := m.StartDaemon(ctx, board.Daemon{Config: herdConfig})
	if err != nil {
		t.Fatal(err)
	}
	start, err := p.Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	both := func(t *testing.T) {
		t.Run("requests", func(t *testing.T) { testHerdRequests(ctx, t, m, p, overflows) })
		t.Run("leaving clients", func(t *testing.T) { testHerdLeaves(ctx, t, m, p, overflows) })
	}
	// A ring keeps as many requests (io_kiocb) as it ever had at once, with their messages, so
	// the resources held after the first herd are the limit for the next.
	t.Run("first herd", both)
	start.Slab = nil
	base, err := p.AwaitHeld(ctx, start, leakPatience)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("second herd", both)
	t.Run("leaks", func(t *testing.T) { checkLeaks(ctx, t, p, base) })
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Run("wrong: "+wrong.FullIsEmpty.Name, func(t *testing.T) {
		p, err := m.StartDaemon(ctx, board.Daemon{Wrong: wrong.FullIsEmpty.Name, Config: herdConfig})
		if err != nil {
			t.Fatal(err)
		}
		o := herdOptions(herd)
		o.Timeout = time.Minute
		if r := requestWhileStopped(ctx, t, m, p, o); r.Complete == o.Downloads {
			t.Errorf("not caught: %+v", r)
		}
		endServer(ctx, t, p) // it does not stop by itself
	})
}

// testHerdRequests: a request arrives on each connection of a stopped daemon.
func testHerdRequests(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process, overflows func() int) {
	before, logged := overflows(), len(logLines(ctx, t, p))
	o := herdOptions(2 * herd)
	if r := requestWhileStopped(ctx, t, m, p, o); r.Complete != o.Downloads {
		t.Errorf("got %+v, want all complete", r)
	}
	overflowed(t, overflows()-before)
	for _, line := range logLines(ctx, t, p)[logged:] {
		t.Errorf("logged: %s", line)
	}
}

// testHerdLeaves: all clients of a stopped daemon have left when it continues.
func testHerdLeaves(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process, overflows func() int) {
	before, logged := overflows(), len(logLines(ctx, t, p))
	o := herdOptions(100 * herd)
	o.Address, o.Plain = net.JoinHostPort("127.0.0.1", strconv.Itoa(board.PlainPort)), true
	c, err := m.StartDownload(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	halt(ctx, t, m, p)
	endServer(ctx, t, c)
	if err := p.Signal(ctx, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	complete(ctx, t, m, 2, ways...)
	eventually(ctx, t, "no connection of the herd", func() bool { return len(connections(ctx, t, m)) == 0 })
	overflowed(t, overflows()-before)
	reported := map[string]bool{} // by client
	for _, line := range logLines(ctx, t, p)[logged:] {
		_, remote, _ := strings.Cut(line, " remote=")
		remote, _, _ = strings.Cut(remote, " ")
		if !strings.Contains(line, "response cut off") && !strings.Contains(line, "request aborted by the client") || reported[remote] {
			t.Errorf("logged: %s", line)
		}
		reported[remote] = true
	}
}

// overflowed fails if no completion found the queue full.
func overflowed(t *testing.T, n int) {
	t.Helper()
	t.Logf("%d completions found no room", n)
	if n == 0 {
		t.Error("the completion queue did not overflow; the test proves nothing")
	}
}

// requestWhileStopped lets a herd send its requests to a stopped daemon, and continues the daemon.
func requestWhileStopped(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process, o client.Options) client.Result {
	t.Helper()
	done := make(chan client.Result, 1)
	go func() { done <- ways[1].download(ctx, t, m, o) }()
	halt(ctx, t, m, p)
	if err := p.Signal(ctx, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	return <-done
}

// halt stops the daemon when it has all connections, lets the herd send its requests, and
// returns when enough requests wait.
func halt(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process) {
	t.Helper()
	eventually(ctx, t, "a herd of connections", func() bool {
		u, err := p.Usage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(strings.Join(u.FDs, "\n"), "socket:[") >= herd
	})
	if err := p.Signal(ctx, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile(ctx, herdGate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Remove(ctx, herdGate); err != nil {
			t.Error(err)
		}
	})
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

// connections returns the lines of /proc/net/tcp6, in fields, of established connections to
// the port of plain HTTP.
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

// traceOverflow makes the kernel trace each completion for which there is no room, until the
// test ends. The returned function counts them.
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
