//go:build board

package board_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/matrix"
)

var (
	seedFlag     = flag.Uint64("board.seed", 1, "seed of the matrix's cells, and of random actions of their clients")
	tableFlag    = flag.String("board.table", "", "file to write the matrix's table to, as Markdown; default none")
	cellsFlag    = flag.String("board.cells", "", "regular expression that the names of the cells to run match, such as 'silent.*sharp'; default all")
	controlsFlag = flag.String("board.controls", "", "the same for the table of the controls")
)

// briefly are the machines whose cells are run without -board.full, with fewer downloads in
// each cell.
var briefly = []string{"armv7-cryptd", "amd64-caam"}

const briefEffort = 4

// TestMatrix runs the cells of package matrix, with one boot per machine.
func TestMatrix(t *testing.T) {
	t.Parallel()
	model := matrix.Boards()
	rows := model.Generate(*seedFlag)
	named, err := regexp.Compile(*cellsFlag)
	if err != nil {
		t.Fatal(err)
	}
	rowsOf := map[string][]matrix.Row{}
	for _, r := range rows {
		if c := model.Cell(r); named.MatchString(c.String()) {
			rowsOf[c.Machine()] = append(rowsOf[c.Machine()], r)
		}
	}
	var mu sync.Mutex
	var lines []matrix.Line
	var ran []matrix.Row
	t.Run("boots", func(t *testing.T) {
		for _, e := range machines {
			name := e.board.String() + "-" + e.engine.String()
			if *onlyFlag != "" && !strings.Contains(","+*onlyFlag+",", ","+name+",") || len(rowsOf[name]) == 0 {
				continue
			}
			t.Run(name, func(t *testing.T) {
				effort := 1
				if !*fullFlag && *onlyFlag == "" && !slices.Contains(briefly, name) {
					t.Skip("left for make test-all")
				}
				if !*fullFlag {
					effort = briefEffort
				}
				t.Parallel()
				line := runCells(t, e.board, e.engine, model, rowsOf[name], effort)
				mu.Lock()
				defer mu.Unlock()
				lines, ran = append(lines, line), append(ran, rowsOf[name]...)
			})
		}
	})
	slices.SortFunc(lines, func(a, b matrix.Line) int { return strings.Compare(a.Machine, b.Machine) })
	text := fmt.Sprintf("Seed %d: %d cells of %d; %v covered.\n\n%s", *seedFlag, len(ran), len(rows), model.Cover(ran), matrix.Table(lines))
	t.Log("\n" + text)
	if *tableFlag != "" {
		if err := os.WriteFile(*tableFlag, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// machines returns every machine that the rules of package matrix allow, the slow machines first.
var machines = []struct {
	board  board.Board
	engine board.Engine
}{
	{board.AArch32_612, board.Pcrypt}, {board.AArch32_612, board.CAAM}, {board.AArch32_612, board.Sync},
	{board.ARMv7_612, board.Cryptd}, {board.ARMv7_612, board.Pcrypt}, {board.ARMv7_612, board.CAAM}, {board.ARMv7_612, board.Sync},
	{board.ARM64_612, board.Pcrypt}, {board.ARM64_612, board.CAAM}, {board.ARM64_612, board.Sync},
	{board.AMD64_612, board.Cryptd}, {board.AMD64_612, board.Pcrypt}, {board.AMD64_612, board.CAAM}, {board.AMD64_612, board.Sync},
	{board.AMD64_61, board.Pcrypt}, {board.AMD64_61, board.CAAM}, {board.AMD64_61, board.Sync},
	{board.AMD64_New, board.Pcrypt}, {board.AMD64_New, board.Sync},
	{board.ARMv7_612, board.Accelerated}, {board.ARM64_612, board.Accelerated}, {board.AMD64_612, board.Accelerated},
}

// cacheFolder returns the directory that keeps kernels.
func cacheFolder(t *testing.T) string {
	t.Helper()
	if *cacheFlag != "" {
		return *cacheFlag
	}
	cache, err := board.DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// forCells limits the time with a machine, including its shutdown.
func forCells(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// bootForCells boots a machine with the daemon in it. The machine is shut down at the end of
// the test.
func bootForCells(ctx context.Context, t *testing.T, b board.Board, e board.Engine, more map[string]string) *board.Machine {
	t.Helper()
	program := filepath.Join(t.TempDir(), "uringhttpd")
	if err := b.Build(ctx, board.Build{Package: *sourceFlag, Output: program}); err != nil {
		t.Fatal(err)
	}
	m, err := board.Boot(ctx, board.Spec{Board: b, Engine: e, Program: program, Wrong: more, Cache: cacheFolder(t), Modules: cellModules(b, e)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, m) })
	t.Logf("Linux %s (%s), %s", m.Hello.Kernel, m.Hello.Machine, m.Driver)
	if e == board.CAAM {
		tune(ctx, t, m, "delay_us=1000", "distribution=exponential", "order=any", "depth=4")
	}
	return m
}

// shutDown shuts a machine down, and logs the kernel's messages if the test has failed.
func shutDown(t *testing.T, m *board.Machine) {
	t.Helper()
	if t.Failed() {
		log, err := m.KernelLog()
		t.Logf("kernel log (%v):\n%s", err, log)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// runCells runs the cells of one machine, and checks that the daemon holds no more resources
// after them than before.
func runCells(t *testing.T, b board.Board, e board.Engine, model *matrix.Model, rows []matrix.Row, effort int) matrix.Line {
	ctx := forCells(t, 90*time.Minute)
	c := startCells(ctx, t, b, e)
	c.runner.effort = effort
	for _, r := range rows {
		c.cell(ctx, t, model.Cell(r))
	}
	c.end(ctx, t)
	return c.line
}

// cells are a daemon on a machine, and the results of its cells.
type cells struct {
	runner *cellRunner
	line   matrix.Line
	base   board.Held
	memory int64 // of the daemon, at the baseline
	again  int64 // segments that TCP had retransmitted at the baseline
	lossy  bool  // the network has dropped packets
}

// startCells boots a machine with an idle daemon that has been warmed up.
func startCells(ctx context.Context, t *testing.T, b board.Board, e board.Engine) *cells {
	t.Helper()
	m := bootForCells(ctx, t, b, e, nil)
	p, err := m.StartDaemon(ctx, board.Daemon{Config: cellConfig})
	if err != nil {
		t.Fatal(err)
	}
	c := &cells{
		runner: &cellRunner{m: m, p: p, port: board.TLSPort, effort: 1, files: map[string]bool{}},
		line:   matrix.Line{Machine: b.String() + "-" + e.String()},
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.logOutput(ctx, t)
		}
	})
	c.warm(ctx, t)
	c.again, c.memory = retransmitted(ctx, t, m), resident(ctx, t, p)
	if err := c.runner.skipLog(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// warm takes the baseline after as many simultaneous connections as a cell may have: the ring
// keeps the objects of an operation for later.
func (c *cells) warm(ctx context.Context, t *testing.T) {
	t.Helper()
	c.base = warm(ctx, t, c.runner.m, c.runner.p)
	c.runner.idle = c.base.FDs["socket"]
	o, err := c.runner.run(ctx, matrix.Cell{
		TLS: "1.3", Cipher: "AES-128-GCM", Client: "64 at once", Place: "chunk and piece", Buffers: "sharp", Network: "plain",
	})
	if err != nil || o.Result.Complete != o.Options.Downloads {
		t.Fatalf("%+v, %v", o, err)
	}
	c.base.Slab = nil
	if c.base, err = c.runner.p.AwaitHeld(ctx, c.base, leakPatience); err != nil {
		t.Fatal(err)
	}
}

// cell runs one cell.
func (c *cells) cell(ctx context.Context, t *testing.T, cell matrix.Cell) {
	t.Helper()
	c.lossy = c.lossy || cell.Lossy()
	start := time.Now()
	o, err := c.runner.run(ctx, cell)
	if err != nil {
		t.Fatalf("%v: %v", cell, err)
	}
	c.line.Add(o)
	t.Logf("%v: %v; %d in kernel TLS, %d bytes pending at most, %+v", cell, time.Since(start).Round(time.Millisecond), o.InKernel, o.PendingMax, o.Result)
	for _, fault := range o.Faults() {
		t.Errorf("%v: %s", cell, fault)
	}
	if t.Failed() {
		c.logOutput(ctx, t)
	}
}

// logOutput logs the daemon's warnings, and the end of its log.
func (c *cells) logOutput(ctx context.Context, t *testing.T) {
	t.Helper()
	out, err := c.runner.p.Output(ctx)
	var warnings []string
	for line := range strings.Lines(string(out.Stderr)) {
		if !strings.Contains(line, "level=INFO") && !strings.Contains(line, "level=DEBUG") {
			warnings = append(warnings, line)
		}
	}
	t.Logf("daemon (%v), its warnings:\n%s\nthe end of its log:\n%s", err,
		strings.Join(warnings[max(0, len(warnings)-50):], ""), out.Stderr[max(0, len(out.Stderr)-8000):])
}

// end checks that nothing has leaked, and ends the daemon.
func (c *cells) end(ctx context.Context, t *testing.T) {
	t.Helper()
	p := c.runner.p
	if n := retransmitted(ctx, t, c.runner.m) - c.again; c.lossy && n == 0 {
		t.Error("TCP has retransmitted nothing: the network did not drop packets")
	}
	checkLeaks(ctx, t, p, c.base)
	memory := resident(ctx, t, p)
	t.Logf("memory: %d KiB, then %d KiB", c.memory>>10, memory>>10)
	if memory > c.memory+residentMargin {
		t.Errorf("the daemon has grown from %d to %d bytes", c.memory, memory)
	}
	t.Logf("\n%s", matrix.Table([]matrix.Line{c.line}))
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// resident returns the resident memory of a process, in bytes.
func resident(ctx context.Context, t *testing.T, p *board.Process) int64 {
	t.Helper()
	u, err := p.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return u.RSS
}
