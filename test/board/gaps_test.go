//go:build board

package board_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
)

// raggedOnDisk is in so many pieces that where they are is not in its inode.
var raggedOnDisk = diskFile{"ragged.bin", &pattern.Content{Seed: 0xd153, Size: 64 << 10, Every: 8 << 10}}

// testHungOthers: whatever of a disk that hangs is waited for, clients of other files
// are served, and so are handshakes.
func testHungOthers(ctx context.Context, t *testing.T, m *board.Machine, d *board.Disk) {
	for _, tt := range []struct {
		name    string
		file    diskFile
		inode   bool // is in memory
		clients int
		threads int // of the daemon that wait for the disk, at least
	}{
		// An io_uring read that is not to wait starts reading ahead, and for that the
		// file system reads where the file is, and waits.
		{"a file in many pieces", raggedOnDisk, true, 1, 1},
		// Opening is the handlers' part, which have a few threads.
		{"many files to be opened", largeOnDisk, false, 8, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := m.StartDaemon(ctx, board.Daemon{})
			if err != nil {
				t.Fatal(err)
			}
			complete(ctx, t, m, 1, ways[0])
			if err := m.Forget(ctx); err != nil {
				t.Fatal(err)
			}
			if tt.inode {
				lookUp(ctx, t, m, tt.file)
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
				o := client.Options{Path: tt.file.path(), Content: tt.file.content, Downloads: tt.clients, Parallel: tt.clients, Timeout: 5 * time.Minute}
				if r := ways[1].download(ctx, t, m, o); r.Complete != tt.clients {
					t.Errorf("got %+v, want all complete", r)
				}
			}()
			defer clients.Wait()
			defer resume()
			awaitDisk(ctx, t, p, tt.threads)
			for _, w := range ways[:2] {
				if r := w.download(ctx, t, m, client.Options{Path: "/complete.bin", Timeout: 20 * time.Second}); r.Complete != 1 {
					t.Errorf("another client, %s: got %+v, want it complete", w.name, r)
				}
			}
			resume()
			clients.Wait()
			if err := p.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
