//go:build board

package board_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/board/wire"
	"uringhttpd/test/wrong"
)

// An ending is a way to end a daemon under load.
type ending struct {
	name  string
	brief bool
	end   func(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process)
	check func(outcome) error
	wrong wrong.Variant // a mutant that must not pass the check
}

// An outcome is the result of an ending.
type outcome struct {
	exit    wire.Exit
	clients [2]client.Result // results of the first two ways
}

var endings = []ending{
	{"SIGKILL", true, kill, allDetected, wrong.NoReset},
	{"SIGTERM", true, terminate, allServed, wrong.StopsAtOnce},
	{"SIGTERM twice", true, terminateTwice, allAborted, wrong.SecondIgnored},
	{"SIGTERM, then SIGKILL", false, terminateAndKill, allDetected, wrong.NoReset},
}

// testEnded: the daemon is ended under load, in several ways. Then all its resources are
// free, and the next daemon serves.
func testEnded(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	before := allocatedSockets(ctx, t, m)
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			if effort == brief && !e.brief {
				t.Skip("left for make test-all")
			}
			if err := e.check(endUnderLoad(ctx, t, m, "", e)); err != nil {
				t.Error(err)
			}
			// The next daemon starts at once: nothing of the ended daemon may block it.
			p, err := m.StartDaemon(ctx, board.Daemon{})
			if err != nil {
				t.Fatal(err)
			}
			complete(ctx, t, m, 2, ways...)
			if err := p.Stop(ctx); err != nil {
				t.Error(err)
			}
			eventually(ctx, t, "no more sockets than before", func() bool { return allocatedSockets(ctx, t, m) <= before })
		})
		t.Run("wrong: "+e.wrong.Name+", "+e.name, func(t *testing.T) {
			if effort == brief {
				t.Skip("left for make test-all")
			}
			err := e.check(endUnderLoad(ctx, t, m, e.wrong.Name, e))
			if err == nil {
				t.Error("not caught")
			}
			t.Log(err)
		})
	}
}

const endedClients = 6 // per way

var endedContent = pattern.Content{Seed: 0xe2d, Size: 3 << 20}

// endUnderLoad ends a daemon while all clients download slowly.
func endUnderLoad(ctx context.Context, t *testing.T, m *board.Machine, program string, e ending) (o outcome) {
	t.Helper()
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program})
	if err != nil {
		t.Fatal(err)
	}
	wait := load(ctx, t, m, p)
	e.end(ctx, t, m, p)
	o.clients = wait()
	if o.exit, err = p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("status %d, signal %d, %+v", o.exit.Status, o.exit.Signal, o.clients)
	return o
}

// load starts slow downloads over TLS and in plain from a daemon, and returns once all have
// started. The returned function waits for their end.
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
				ReceiveBuffer: 4096, ReadSize: 4096, Pause: 4 * time.Millisecond, Timeout: 5 * time.Minute,
			})
		}()
	}
	eventually(ctx, t, "start of all downloads", func() bool {
		mem, err := m.Memory(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return mem.Sending == 2*endedClients
	})
	return func() [2]client.Result {
		clients.Wait()
		return results
	}
}

func kill(ctx context.Context, t *testing.T, _ *board.Machine, p *board.Process) {
	t.Helper()
	if err := p.Signal(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// sendStop sends SIGTERM, and returns when the daemon has logged it: two signals at once
// would count as one.
func sendStop(ctx context.Context, t *testing.T, p *board.Process) {
	t.Helper()
	before := len(logLines(ctx, t, p))
	if err := p.Signal(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "log line about the signal", func() bool { return len(logLines(ctx, t, p)) > before })
}

// terminate ends the daemon in order: from then on it accepts no connection.
func terminate(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process) {
	t.Helper()
	sendStop(ctx, t, p)
	eventually(ctx, t, "refused client", func() bool {
		return ways[1].download(ctx, t, m, client.Options{Path: "/", Timeout: 10 * time.Second}).Errors["dial"] == 1
	})
}

// terminateTwice sends a second signal, which ends the remaining downloads.
func terminateTwice(ctx context.Context, t *testing.T, _ *board.Machine, p *board.Process) {
	t.Helper()
	sendStop(ctx, t, p)
	if err := p.Signal(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// terminateAndKill does the same as systemd after TimeoutStopSec.
func terminateAndKill(ctx context.Context, t *testing.T, m *board.Machine, p *board.Process) {
	t.Helper()
	sendStop(ctx, t, p)
	kill(ctx, t, m, p)
}

// allDetected expects that all clients were cut off and detected it.
func allDetected(o outcome) error {
	var errs []error
	for i, w := range ways[:2] {
		errs = append(errs, checkCutOff(w, o.clients[i], endedClients))
	}
	return errors.Join(errs...)
}

// allServed expects complete downloads, connections that ended in order, and no warning.
func allServed(o outcome) error {
	var errs []error
	for i, r := range o.clients {
		if r.Complete != endedClients || i == 0 && r.Ends["close_notify"] != endedClients {
			errs = append(errs, fmt.Errorf("%s: got %+v, want all complete", ways[i].name, r))
		}
	}
	if o.exit.Status != 0 {
		errs = append(errs, fmt.Errorf("status %d, want 0", o.exit.Status))
	}
	for line := range strings.Lines(string(o.exit.Stderr)) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			errs = append(errs, fmt.Errorf("logged: %s", line))
		}
	}
	return errors.Join(errs...)
}

// allAborted expects that all clients were cut off, each with a line in the log, and an exit
// status for it. Where the engine has records of a connection, FIN comes before its reset,
// since a close would wait for the engine. The missing close_notify tells the client.
func allAborted(o outcome) error {
	err := checkCutOff(ways[1], o.clients[1], endedClients)
	if r := o.clients[0]; r.Truncated+r.Errors["response"] != endedClients || r.Ends["close_notify"] != 0 {
		err = errors.Join(err, fmt.Errorf("%s: got %+v, want all cut off", ways[0].name, r))
	}
	if o.exit.Status != 1 {
		err = errors.Join(err, fmt.Errorf("status %d, want 1", o.exit.Status))
	}
	lines := 0
	for line := range strings.Lines(string(o.exit.Stderr)) {
		switch {
		case !strings.Contains(line, "response cut off"):
		case strings.Contains(line, "the service was stopped"):
			lines++
		default:
			err = errors.Join(err, fmt.Errorf("logged: %s", line))
		}
	}
	if lines != 2*endedClients {
		err = errors.Join(err, fmt.Errorf("%d lines about responses cut off, want %d", lines, 2*endedClients))
	}
	return err
}

// allocatedSockets returns the number of the kernel's TCP sockets without those in TIME_WAIT.
func allocatedSockets(ctx context.Context, t *testing.T, m *board.Machine) int {
	t.Helper()
	text, err := m.ReadFile(ctx, "/proc/net/sockstat")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^TCP: .* alloc (\d+)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("sockstat: %s", text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
