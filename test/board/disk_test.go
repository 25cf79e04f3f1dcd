//go:build board

package board_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

const diskSize = 96 << 20

// A diskFile is a file on the disk.
type diskFile struct {
	name    string
	content *pattern.Content
}

func (f diskFile) path() string { return "/disk/" + f.name }

// The files on the disk: one is read and sent with the head, one is spliced, and one has so
// many extents that its inode does not hold them.
var (
	smallOnDisk  = diskFile{"small.bin", &pattern.Content{Seed: 0xd151, Size: 32 << 10}}
	largeOnDisk  = diskFile{"large.bin", &pattern.Content{Seed: 0xd152, Size: 8 << 20}}
	raggedOnDisk = diskFile{"ragged.bin", &pattern.Content{Seed: 0xd153, Size: 64 << 10, Every: 8 << 10}}
)

func diskFiles() map[string]pattern.Content {
	files := map[string]pattern.Content{}
	for _, f := range []diskFile{smallOnDisk, largeOnDisk, raggedOnDisk} {
		files[f.name] = *f.content
	}
	return files
}

// testDisk: the disk of the files fails, is slow, and hangs.
func testDisk(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	d, err := m.MountDisk(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	warmDisk(ctx, t, m, d, p)
	base := warm(ctx, t, m, p)
	t.Run("bad block", func(t *testing.T) { testBadBlock(ctx, t, m, d, p, effort) })
	t.Run("dead", func(t *testing.T) { testDeadDisk(ctx, t, m, d, p) })
	t.Run("slow", func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		testSlowDisk(ctx, t, m, d)
	})
	t.Run("hangs", func(t *testing.T) { testHang(ctx, t, m, d, p, effort) })
	t.Run("leaks", func(t *testing.T) { checkLeaks(ctx, t, p, base) })
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Run("hangs beside other files", func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		testHungOthers(ctx, t, m, d)
	})
	t.Run("hangs during stop", func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		testHangStop(ctx, t, m, d)
	})
	t.Run("wrong: "+wrong.EndsShort.Name, func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		testEndsShort(ctx, t, m, d)
	})
}

// warmDisk makes as many threads of the daemon wait for the disk as can ever do: Go keeps
// its threads.
func warmDisk(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk, p *board.Process) {
	const threads = 4
	if err := m.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Hang(ctx, true); err != nil {
		t.Fatal(err)
	}
	done := make(chan client.Result, 1)
	go func() {
		o := client.Options{Path: smallOnDisk.path(), Content: smallOnDisk.content, Downloads: threads, Parallel: threads, Timeout: 5 * time.Minute}
		done <- ways[1].download(ctx, t, m, o)
	}()
	awaitDisk(ctx, t, p, threads)
	if err := d.Hang(ctx, false); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Complete != threads {
		t.Fatalf("got %+v, want all complete", r)
	}
}

// testBadBlock: a block of a file cannot be read. Clients of the file detect the failure,
// other clients are served, and once the block can be read, all clients are.
func testBadBlock(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk, p *board.Process, effort effort) {
	for _, f := range []struct {
		diskFile
		bad int64 // offset in the file
	}{
		{smallOnDisk, 16 << 10},
		{largeOnDisk, 2 << 20},
	} {
		at := onDisk(t, m.Spec.Disk, *f.content, f.bad)
		for _, w := range ways {
			t.Run(f.name+"/"+w.name, func(t *testing.T) {
				if effort == brief && (w.remote || f.diskFile == smallOnDisk && w.plain) {
					t.Skip("left for make test-all")
				}
				o := client.Options{Path: f.path(), Content: f.content, Downloads: 3, Parallel: 3, Timeout: time.Minute}
				if err := d.Break(ctx, at, 4096); err != nil {
					t.Fatal(err)
				}
				if err := m.Forget(ctx); err != nil {
					t.Fatal(err)
				}
				before := len(logLines(ctx, t, p))
				r := w.download(ctx, t, m, o)
				if f.diskFile == smallOnDisk { // all of it is read before any of it is sent
					refused(ctx, t, p, before, r, o.Downloads)
				} else {
					wantCutOff(t, w, r, o.Downloads)
					cutOff(ctx, t, p, before, o.Downloads, "input/output error")
				}
				if r.Bytes > int64(o.Downloads)*f.bad {
					t.Errorf("%d bytes arrived, more than there are before the bad block: %+v", r.Bytes, r)
				}
				complete(ctx, t, m, 2, w)
				if err := d.Heal(ctx); err != nil {
					t.Fatal(err)
				}
				if err := m.Forget(ctx); err != nil {
					t.Fatal(err)
				}
				if r := w.download(ctx, t, m, o); r.Complete != o.Downloads {
					t.Errorf("healed: got %+v", r)
				}
			})
		}
	}
}

// testEndsShort: a mutant that sends FIN after a failed read is caught.
func testEndsShort(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk) {
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: wrong.EndsShort.Name})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Break(ctx, onDisk(t, m.Spec.Disk, *largeOnDisk.content, 2<<20), 4096); err != nil {
		t.Fatal(err)
	}
	if err := m.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways[:2] {
		r := w.download(ctx, t, m, client.Options{Path: largeOnDisk.path(), Content: largeOnDisk.content, Timeout: time.Minute})
		if r.Truncated != 1 || r.Ends["reset"] != 0 {
			t.Errorf("%s: got %+v, want a short file and no reset", w.name, r)
		}
	}
	if err := d.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// refused fails unless n clients got status 500 for an unreadable file, and the daemon logged
// the reason after the first logged lines.
func refused(ctx context.Context, t *testing.T, p *board.Process, before int, r client.Result, n int) {
	t.Helper()
	if r.Errors["status"] != n || strings.Count(strings.Join(r.Details, "\n"), "500 Internal") != n {
		t.Errorf("got %+v, want %d of status 500", r, n)
	}
	eventually(ctx, t, "a line for each failed request", func() bool {
		logged := 0
		for _, line := range logLines(ctx, t, p)[before:] {
			if strings.Contains(line, "request failed") && strings.Contains(line, "input/output error") {
				logged++
			}
		}
		return logged == n
	})
}

// testDeadDisk: nothing can be read, not even the extents of the file.
func testDeadDisk(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk, p *board.Process) {
	if err := m.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Break(ctx, 0, d.Size()); err != nil {
		t.Fatal(err)
	}
	before := len(logLines(ctx, t, p))
	o := client.Options{Path: smallOnDisk.path(), Content: smallOnDisk.content, Downloads: 2, Timeout: time.Minute}
	r := ways[0].download(ctx, t, m, o)
	refused(ctx, t, p, before, r, o.Downloads)
	complete(ctx, t, m, 2, ways...)
	if err := d.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	if r := ways[0].download(ctx, t, m, o); r.Complete != o.Downloads {
		t.Errorf("healed: got %+v", r)
	}
}

// testSlowDisk: each read takes long, which must not count as a stalled client.
func testSlowDisk(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk) {
	if err := d.Slow(ctx, 100); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Heal(ctx); err != nil {
			t.Error(err)
		}
	}()
	for _, w := range ways[:2] {
		if err := m.Forget(ctx); err != nil {
			t.Fatal(err)
		}
		o := client.Options{Path: largeOnDisk.path(), Content: largeOnDisk.content, Downloads: 2, Parallel: 2, Timeout: 3 * time.Minute}
		if r := w.download(ctx, t, m, o); r.Complete != o.Downloads {
			t.Errorf("%s: got %+v", w.name, r)
		}
	}
}

// onDisk returns the offset on the disk of a page of a file.
func onDisk(t *testing.T, image string, c pattern.Content, off int64) int64 {
	t.Helper()
	const page = 4096
	block := make([]byte, page)
	if _, err := c.ReadAt(block, off); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, block)
	if i < 0 || i%page != 0 {
		t.Fatalf("byte %d of a file is at %d of the disk", off, i)
	}
	return int64(i)
}
