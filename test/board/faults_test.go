//go:build board

package board_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
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

// faultBoards are the machines on which parts other than the daemon fail.
var faultBoards = []struct {
	board  board.Board
	effort effort
}{
	{board.AMD64_612, brief},
	{board.ARMv7_612, left},
}

// faultVariants are the mutants that parts of TestFaults must catch.
var faultVariants = []wrong.Variant{
	wrong.NoReset, wrong.NoDrain, wrong.NoSeal, wrong.StopsAtOnce, wrong.SecondIgnored, wrong.NotAsked, wrong.Deaf, wrong.FullIsEmpty,
	wrong.ReadsOnLoop, wrong.EndsShort,
}

// TestFaults boots machines with an asynchronous cipher, a disk, and queues that drop
// packets, and makes all of these fail.
func TestFaults(t *testing.T) {
	t.Parallel()
	cache := *cacheFlag
	if cache == "" {
		var err error
		if cache, err = board.DefaultCache(); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range faultBoards {
		name := e.board.String() + "-faults"
		if *onlyFlag != "" && !strings.Contains(","+*onlyFlag+",", ","+name+",") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			effort := e.effort.asked()
			if effort == left {
				t.Skip("left for make test-all")
			}
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
			defer cancel()
			dir := t.TempDir()
			spec := board.Spec{
				Board: e.board, Engine: board.CAAM, Cache: cache,
				Program: filepath.Join(dir, "uringhttpd"), Disk: filepath.Join(dir, "disk.img"), Modules: board.QueueModules,
			}
			if err := spec.Board.Build(ctx, board.Build{Package: *sourceFlag, Output: spec.Program}); err != nil {
				t.Fatal(err)
			}
			if err := board.MakeDisk(ctx, spec.Disk, diskSize, diskFiles()); err != nil {
				t.Fatal(err)
			}
			if effort == whole {
				var err error
				if spec.Wrong, err = wrongBuilds(ctx, e.board, dir, faultVariants...); err != nil {
					t.Fatal(err)
				}
			}
			m, err := board.Boot(ctx, spec)
			if err != nil {
				t.Fatal(err)
			}
			defer shutDown(t, m)
			t.Run("ended", func(t *testing.T) { testEnded(ctx, t, m, effort) })
			t.Run("queues", func(t *testing.T) { testQueues(ctx, t, m, effort) })
			t.Run("engine", func(t *testing.T) { testEngineFaults(ctx, t, m, effort) })
			t.Run("changed", func(t *testing.T) { testChanged(ctx, t, m, effort) })
			t.Run("overflow", func(t *testing.T) { testOverflow(ctx, t, m, effort) })
			t.Run("disk", func(t *testing.T) { testDisk(ctx, t, m, effort) })
		})
	}
}

// A way is a client's route to the daemon. Plain HTTP is sent from copies to the board
// itself, and spliced to the host.
type way struct {
	name   string
	remote bool
	plain  bool
}

var ways = []way{
	{"TLS", false, false},
	{"plain", false, true},
	{"TLS from the host", true, false},
	{"plain from the host", true, true},
}

func (w way) port() int {
	if w.plain {
		return board.PlainPort
	}
	return board.TLSPort
}

// download makes downloads with the options o, from the place of w.
func (w way) download(ctx context.Context, t *testing.T, m *board.Machine, o client.Options) client.Result {
	t.Helper()
	o.Plain = w.plain
	var err error
	if o.Roots, err = m.Roots(); err != nil {
		t.Fatal(err)
	}
	var r client.Result
	if w.remote {
		if o.Address, err = m.Forward(ctx, w.port()); err != nil {
			t.Fatal(err)
		}
		r, err = client.Run(ctx, o)
	} else {
		o.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port()))
		r, err = m.Download(ctx, o)
	}
	if err != nil {
		t.Error(err)
	}
	return r
}

// wantCutOff fails unless n clients got less than a complete file, and detected it.
func wantCutOff(t *testing.T, w way, r client.Result, n int) {
	t.Helper()
	if err := checkCutOff(w, r, n); err != nil {
		t.Error(err)
	}
}

// checkCutOff returns an error unless n clients got less than a complete file, and detected it.
// From the host a reset cannot be seen: QEMU replaces it by a FIN.
func checkCutOff(w way, r client.Result, n int) error {
	resets := r.Ends["reset"] + r.Errors["response"]
	if r.Truncated+r.Errors["response"] != n || r.Ends["close_notify"] != 0 || !w.remote && resets != n {
		return fmt.Errorf("%s: got %+v, want %d that were cut off and reset", w.name, r, n)
	}
	return nil
}

// complete fails unless n downloads of a small file on the tmpfs are complete, in each way.
func complete(ctx context.Context, t *testing.T, m *board.Machine, n int, ways ...way) {
	t.Helper()
	c := pattern.Content{Seed: 0xc0de, Size: 100_000}
	const name = "/complete.bin"
	if err := m.MakeFile(ctx, board.Root+name, c); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways {
		r := w.download(ctx, t, m, client.Options{Path: name, Content: &c, Downloads: n, Timeout: time.Minute})
		if r.Complete != n {
			t.Errorf("another client, %s: got %+v, want %d complete", w.name, r, n)
		}
	}
}

// doubts are the daemon's warnings about an engine that stood still for some seconds.
var doubts = regexp.MustCompile(`msg="crypto engine (stalled|works)`)

// cutOff fails unless the daemon's log has, after the first logged lines, n responses that
// were cut off for a reason, and no other warning. The last line may come after the client
// has noticed.
func cutOff(ctx context.Context, t *testing.T, p *board.Process, before, n int, reason string) {
	t.Helper()
	var lines []string
	eventually(ctx, t, "a line for each response cut off", func() bool {
		lines = lines[:0]
		for _, line := range logLines(ctx, t, p)[before:] {
			if !strings.Contains(line, "msg=request ") && !strings.Contains(line, "request aborted by the client") && !doubts.MatchString(line) {
				lines = append(lines, line)
			}
		}
		return len(lines) >= n
	})
	for _, line := range lines {
		if len(lines) != n || !strings.Contains(line, "response cut off") || !strings.Contains(line, reason) {
			t.Errorf("logged %d lines, want %d: %s", len(lines), n, line)
		}
	}
}

// logLines returns the lines that a daemon has logged.
func logLines(ctx context.Context, t *testing.T, p *board.Process) []string {
	t.Helper()
	e, err := p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(e.Stderr)), "\n")
}
