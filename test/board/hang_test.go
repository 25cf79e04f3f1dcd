//go:build board

package board_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
)

// testHang: the disk answers nothing for a while. Clients of its files wait, others do
// not, and once it answers all have all.
func testHang(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk, p *board.Process, effort effort) {
	const few, many = 3, 6 // less, and more, than the daemon's workers
	for _, tt := range []struct {
		name    string
		brief   bool
		clients int
		file    diskFile
		way     way
		inode   bool // is in memory: only what is in the file has to be read
		threads int  // wait for the disk
	}{
		{"TLS", false, many, largeOnDisk, ways[0], true, many},
		{"plain", false, many, largeOnDisk, ways[1], true, 1}, // or for the page that one thread reads
		{"TLS from the host", false, many, largeOnDisk, ways[2], true, many},
		{"plain from the host", false, many, largeOnDisk, ways[3], true, many},
		{"small", true, many, smallOnDisk, ways[0], true, 1},
		{"nothing in memory", true, few, largeOnDisk, ways[0], false, few},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if effort == brief && !tt.brief {
				t.Skip("left for make test-all")
			}
			if err := m.Forget(ctx); err != nil {
				t.Fatal(err)
			}
			if tt.inode {
				lookUp(ctx, t, m, tt.file)
			}
			before := len(logLines(ctx, t, p))
			if err := d.Hang(ctx, true); err != nil {
				t.Fatal(err)
			}
			resumed := false
			resume := func() {
				if !resumed {
					resumed = true
					if err := d.Hang(ctx, false); err != nil {
						t.Error(err)
					}
				}
			}
			var clients sync.WaitGroup
			clients.Add(1)
			go func() {
				defer clients.Done()
				o := client.Options{Path: tt.file.path(), Content: tt.file.content, Downloads: tt.clients, Parallel: tt.clients, Timeout: 5 * time.Minute}
				if r := tt.way.download(ctx, t, m, o); r.Complete != tt.clients {
					t.Errorf("got %+v, want all complete", r)
				}
			}()
			defer clients.Wait()
			defer resume()
			awaitDisk(ctx, t, p, tt.threads)
			complete(ctx, t, m, 2, ways...)
			resume()
			clients.Wait()
			for _, line := range logLines(ctx, t, p)[before:] {
				if !strings.Contains(line, "msg=request ") {
					t.Errorf("logged: %s", line)
				}
			}
		})
	}
	t.Run("the client leaves", func(t *testing.T) { testHangLeft(ctx, t, m, d, p) })
}

// testHangLeft: the clients do not wait until the disk answers.
func testHangLeft(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk, p *board.Process) {
	const clients = 4
	if err := m.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	lookUp(ctx, t, m, largeOnDisk)
	if err := d.Hang(ctx, true); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways[:2] {
		r := w.download(ctx, t, m, client.Options{
			Path: largeOnDisk.path(), Content: largeOnDisk.content, Downloads: clients, Parallel: clients, Timeout: time.Second,
		})
		if r.Errors["timeout"] != clients {
			t.Errorf("got %+v, want all left", r)
		}
	}
	complete(ctx, t, m, 2, ways...)
	if err := d.Hang(ctx, false); err != nil {
		t.Fatal(err)
	}
}

// lookUp has the board keep in memory where a file is, and nothing of what is in it.
func lookUp(ctx context.Context, t *testing.T, m *board.Machine, f diskFile) {
	t.Helper()
	addr, err := m.Forward(ctx, board.PlainPort)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+addr+f.path(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("HEAD %s: %s", f.path(), resp.Status)
	}
}

// awaitDisk waits until so many threads of the daemon wait for the disk.
func awaitDisk(ctx context.Context, t *testing.T, p *board.Process, threads int) {
	t.Helper()
	eventually(ctx, t, fmt.Sprintf("%d threads that wait for the disk", threads), func() bool {
		u, err := p.Usage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, stack := range u.Workers {
			for _, function := range []string{"folio_wait_bit", "ext4_", "d_alloc_parallel", "bh_read"} {
				if strings.Contains(stack, function) {
					n++
					break
				}
			}
		}
		return n >= threads
	})
}
