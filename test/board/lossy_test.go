//go:build board

package board_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/board/wire"
	"uringhttpd/test/wrong"
)

// TestLossyLinkIsNoStall: over a link that loses many packets, TCP ends no connection while the
// client reads (docs/decisions/0017-progress-of-a-client.md). The mutant sets TCP_USER_TIMEOUT.
func TestLossyLinkIsNoStall(t *testing.T) {
	if !*fullFlag {
		t.Skip("left for make test-all")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	dir := t.TempDir()
	spec := board.Spec{Board: board.AMD64_612, Program: filepath.Join(dir, "uringhttpd"), Cache: cacheFolder(t), Modules: []string{"sch_netem"}}
	if err := spec.Board.Build(ctx, board.Build{Package: *sourceFlag, Output: spec.Program}); err != nil {
		t.Fatal(err)
	}
	var err error
	if spec.Wrong, err = wrongBuilds(ctx, spec.Board, dir, wrong.TCPTimeout); err != nil {
		t.Fatal(err)
	}
	m, err := board.Boot(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer shutDown(t, m)
	for _, program := range []string{"", wrong.TCPTimeout.Name} {
		ended := lossyDownloads(ctx, t, m, program)
		t.Logf("%q: TCP has ended %d connections", program, ended)
		if (ended > 0) != (program != "") {
			t.Errorf("%q: TCP has ended %d connections", program, ended)
		}
	}
}

// lossyDownloads makes slow downloads while the network loses packets, and returns how many
// connections TCP has ended by a timeout.
func lossyDownloads(ctx context.Context, t *testing.T, m *board.Machine, program string) int64 {
	t.Helper()
	c := pattern.Content{Seed: 0x1055, Size: 2 << 20}
	const name = "/lossy.bin"
	if err := m.MakeFile(ctx, board.Root+name, c); err != nil {
		t.Fatal(err)
	}
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program, Config: strings.Replace(board.DefaultConfig, "root: /srv", "root: /srv\nlimits:\n  stall_timeout: 5s", 1)})
	if err != nil {
		t.Fatal(err)
	}
	before := abortedOnTimeout(ctx, t, m)
	for _, loss := range []float64{0.1, 0.2, 0.3} {
		if err := m.Netem(ctx, wire.Netem{Loss: loss, Delay: 10 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		for _, w := range ways[:2] {
			r := w.download(ctx, t, m, client.Options{
				Path: name, Content: &c, Downloads: 24, Parallel: 24,
				ReceiveBuffer: 16384, ReadSize: 4096, Pause: 10 * time.Millisecond, Timeout: 90 * time.Second,
			})
			if r.Silently+r.Corrupt > 0 {
				t.Errorf("%+v", r)
			}
			t.Logf("%q, loss %v, %s: %d complete, %d cut off, %d aborted by TCP so far", program, loss, w.name, r.Complete, r.Truncated, abortedOnTimeout(ctx, t, m)-before)
		}
	}
	if err := m.Netem(ctx, wire.Netem{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	return abortedOnTimeout(ctx, t, m) - before
}

// abortedOnTimeout is the kernel's counter TCPAbortOnTimeout in /proc/net/netstat.
func abortedOnTimeout(ctx context.Context, t *testing.T, m *board.Machine) int64 {
	t.Helper()
	return tcpCounter(ctx, t, m, "/proc/net/netstat", "TcpExt:", "TCPAbortOnTimeout")
}
