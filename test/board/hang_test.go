//go:build board

package board_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/wrong"
)

// testHang: the disk answers nothing for a while. Clients of its files wait, other clients do
// not, and once the disk answers, all downloads complete.
func testHang(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk, p *board.Process, effort effort) {
	// Fewer, more, and as many clients as threads that may read files into pipes or memory.
	const few, many, workers = 3, 6, 4
	for _, tt := range []struct {
		name    string
		brief   bool
		clients int
		file    diskFile
		way     way
		inode   bool // the inode is in memory; only the file's data has to be read
		threads int  // threads that wait for the disk
	}{
		// A connection that does not get the splice semaphore has its file read.
		{"TLS", false, many, largeOnDisk, ways[0], true, many},
		{"plain", false, many, largeOnDisk, ways[1], true, workers},
		{"TLS from the host", false, many, largeOnDisk, ways[2], true, many},
		{"plain from the host", false, many, largeOnDisk, ways[3], true, many},
		{"small", true, many, smallOnDisk, ways[0], true, workers},
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
				if !strings.Contains(line, "msg=request ") && !strings.Contains(line, silentStorage) && !strings.Contains(line, storageAgain) {
					t.Errorf("logged: %s", line)
				}
			}
		})
	}
	t.Run("client leaves", func(t *testing.T) { testHangLeft(ctx, t, m, d, p) })
}

// The daemon's log messages about a disk that hangs.
const (
	silentStorage = "storage does not answer"
	storageAgain  = "storage answers again"
)

// testHangLeft: the clients leave before the disk answers.
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

// testHungOthers: whichever data of a hung disk the daemon waits for, clients of other files
// are served, and so are handshakes.
func testHungOthers(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk) {
	// A read with IOCB_NOWAIT starts read-ahead, for which the file system reads the
	// extents, and waits.
	ragged := hungOthers{file: raggedOnDisk, inode: true, clients: 2, threads: 1}
	t.Run("file with many extents", func(t *testing.T) { ragged.test(ctx, t, m, d) })
	t.Run("many files to open", func(t *testing.T) {
		hungOthers{file: largeOnDisk, clients: 8, threads: 4}.test(ctx, t, m, d)
	})
	t.Run("wrong: "+wrong.ReadsOnLoop.Name, func(t *testing.T) {
		ragged.program = wrong.ReadsOnLoop.Name
		ragged.test(ctx, t, m, d)
	})
}

// hungOthers describes clients of a hung disk, and other clients.
type hungOthers struct {
	program string // of Spec.Wrong, a mutant that does not serve the other clients
	file    diskFile
	inode   bool // the inode is in memory
	clients int
	threads int // minimum of the daemon's threads that wait for the disk
}

func (h hungOthers) test(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk) {
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: h.program})
	if err != nil {
		t.Fatal(err)
	}
	complete(ctx, t, m, 1, ways[0])
	if err := m.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	if h.inode {
		lookUp(ctx, t, m, h.file)
	}
	if err := d.Hang(ctx, true); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := d.Hang(ctx, false); err != nil {
			t.Error(err)
		}
	})
	var clients sync.WaitGroup
	clients.Add(1)
	go func() {
		defer clients.Done()
		o := client.Options{Path: h.file.path(), Content: h.file.content, Downloads: h.clients, Parallel: h.clients, Timeout: 5 * time.Minute}
		if r := ways[1].download(ctx, t, m, o); r.Complete != h.clients && h.program == "" {
			t.Errorf("got %+v, want all complete", r)
		}
	}()
	defer clients.Wait()
	defer resume()
	awaitDisk(ctx, t, p, h.threads)
	for _, w := range ways[:2] {
		r := w.download(ctx, t, m, client.Options{Path: "/complete.bin", Timeout: 20 * time.Second})
		if served := r.Complete == 1; served != (h.program == "") {
			t.Errorf("another client, %s: got %+v, complete is %v", w.name, r, served)
		}
	}
	if h.program == "" {
		awaitLine(ctx, t, p, silentStorage)
	}
	resume()
	clients.Wait()
	if h.program == "" {
		awaitLine(ctx, t, p, storageAgain)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// testHangStop: a daemon stops when requested, although the disk hangs. The clients of the
// disk are reset.
func testHangStop(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk) {
	config := board.DefaultConfig + "limits:\n  stall_timeout: 10s\n"
	for _, inode := range []bool{false, true} {
		t.Run(fmt.Sprintf("inode in memory %v", inode), func(t *testing.T) {
			p, err := m.StartDaemon(ctx, board.Daemon{Config: config})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Forget(ctx); err != nil {
				t.Fatal(err)
			}
			if inode {
				lookUp(ctx, t, m, largeOnDisk)
			}
			if err := d.Hang(ctx, true); err != nil {
				t.Fatal(err)
			}
			const clients = 2
			got := make(chan client.Result, 1)
			go func() {
				o := client.Options{Path: largeOnDisk.path(), Content: largeOnDisk.content, Downloads: clients, Parallel: clients, Timeout: 5 * time.Minute}
				got <- ways[0].download(ctx, t, m, o)
			}()
			awaitDisk(ctx, t, p, clients)
			if err := p.Signal(ctx, syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if r := <-got; r.Ends["reset"]+r.Errors["response"] != clients {
				t.Errorf("got %+v, want %d resets", r, clients)
			}
			if err := d.Hang(ctx, false); err != nil { // a waiting thread keeps the process alive
				t.Error(err)
			}
			if e, err := p.Wait(ctx); err != nil || e.Status != 1 {
				t.Errorf("status %d, signal %d, %v, want 1:\n%s", e.Status, e.Signal, err, e.Stderr)
			}
		})
	}
}

// awaitLine waits until a daemon has logged a line.
func awaitLine(ctx context.Context, t *testing.T, p *board.Process, text string) {
	t.Helper()
	eventually(ctx, t, text, func() bool {
		return slices.ContainsFunc(logLines(ctx, t, p), func(line string) bool { return strings.Contains(line, text) })
	})
}

// lookUp brings the inode of a file into the board's memory, and none of the file's data.
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

// awaitDisk waits until n threads of the daemon wait for the disk.
func awaitDisk(ctx context.Context, t *testing.T, p *board.Process, threads int) {
	t.Helper()
	eventually(ctx, t, fmt.Sprintf("%d threads that wait for the disk", threads), func() bool {
		u, err := p.Usage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, stack := range u.Workers {
			for _, function := range []string{"folio_wait_bit", "ext4_", "d_alloc_parallel", "bh_read", "__wait_on_buffer"} {
				if strings.Contains(stack, function) {
					n++
					break
				}
			}
		}
		return n >= threads
	})
}
