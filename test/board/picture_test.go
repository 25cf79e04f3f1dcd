//go:build board

package board_test

import (
	"context"
	"encoding/csv"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

var csvFlag = flag.String("board.csv", "", "file for the results of TestPicture; without it, TestPicture does not run")

// telling makes a build read the meter before each push, and log each reading.
var telling = []wrong.Edit{
	{
		File: "service/server/gate.go",
		Old:  "\tn := c.pushable()\n",
		New:  "\tif _, op, ok := c.measure(now); !ok {\n\t\treturn op\n\t}\n\tn := c.pushable()\n",
	},
	{
		File: "service/server/gate.go",
		Old:  "\tif c.flow.Update(",
		New:  "\tc.gen.log.Info(\"told\", \"pending\", r.Pending)\n\tif c.flow.Update(",
	},
}

// pictured are the ways to gate pushes, each with its changes of the daemon.
var pictured = []wrong.Variant{
	{Name: "none", Edits: slices.Concat(telling, wrong.OnlyPOLLOUT.Edits)},
	{Name: "POLLOUT", Edits: slices.Concat(telling, wrong.OnlyPOLLOUT.Edits, []wrong.Edit{{
		File: "service/server/gate.go",
		Old:  "\treturn c.push(n)\n",
		New:  "\tif !t.polled {\n\t\treturn c.waitWritable(now)\n\t}\n\treturn c.push(n)\n",
	}})},
	{Name: "meter", Edits: telling},
}

// TestPicturePassages: the mutants of TestPicture, which runs on request only, follow the source.
func TestPicturePassages(t *testing.T) {
	for _, v := range pictured {
		if _, err := v.Overlay("../..", t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}

// TestPicture measures the bytes inside kernel TLS over time, by how pushes are gated, while a
// client downloads 8 MiB at about 3 MB/s, as pendingMax does. It writes lines of gate,
// milliseconds since the first push, and bytes; the milliseconds are of a clock that does not
// depend on the load of the host. The picture is in docs/kernel-tls-async.md.
func TestPicture(t *testing.T) {
	if *csvFlag == "" {
		t.Skip("no file is named: -board.csv docs/picture/pending.csv")
	}
	cache, err := board.DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir := t.TempDir()
	spec := board.Spec{Board: board.AMD64_612, Engine: board.Cryptd, CountedClock: true, Program: filepath.Join(dir, "uringhttpd"), Cache: cache, Wrong: map[string]string{}}
	if err := spec.Board.Build(ctx, board.Build{Output: spec.Program}); err != nil {
		t.Fatal(err)
	}
	for _, v := range pictured {
		overlay, err := v.Overlay(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		spec.Wrong[v.Name] = strings.TrimSuffix(overlay, ".json")
		if err := spec.Board.Build(ctx, board.Build{Output: spec.Wrong[v.Name], Flags: []string{"-overlay", overlay}}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := board.Boot(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	f, err := os.Create(filepath.Join(root, *csvFlag))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := csv.NewWriter(f)
	w.Write([]string{"gate", "ms", "bytes"})
	for _, v := range pictured {
		record(ctx, t, m, v.Name, w)
	}
	if w.Flush(); w.Error() != nil {
		t.Error(w.Error())
	}
}

var reading = regexp.MustCompile(`time=(\S+) .*msg=told pending=(\d+)`)

// record runs one build, and writes its log readings.
func record(ctx context.Context, t *testing.T, m *board.Machine, program string, w *csv.Writer) {
	content := pattern.Content{Seed: 0x9e4d, Size: 8 << 20}
	if err := m.MakeFile(ctx, board.Root+"/pending.bin", content); err != nil {
		t.Fatal(err)
	}
	restore, err := m.SetSysctl(ctx, "net.ipv4.tcp_wmem", "4096 16777216 16777216")
	if err != nil {
		t.Fatal(err)
	}
	defer restore()
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program, Nice: -20})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := m.Roots()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r, err := m.Download(ctx, client.Options{
		Address: "127.0.0.1:" + strconv.Itoa(board.TLSPort), Path: "/pending.bin", Roots: roots, Content: &content,
		ReadSize: 16 << 10, Pause: 5 * time.Millisecond,
	})
	if err != nil || r.Complete != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	took := time.Since(begin).Round(time.Millisecond)
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	e, err := p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var start time.Time
	most := 0
	for _, f := range reading.FindAllSubmatch(e.Stderr, -1) {
		at, err1 := time.Parse(time.RFC3339Nano, string(f[1]))
		n, err2 := strconv.Atoi(string(f[2]))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if start.IsZero() {
			start = at
		}
		most = max(most, n)
		w.Write([]string{program, strconv.FormatInt(at.Sub(start).Milliseconds(), 10), string(f[2])})
	}
	t.Logf("gated by %s: at most %d bytes pending, the download took %v; %d bytes of log lost", program, most, took, e.Dropped)
}
