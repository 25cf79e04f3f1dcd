package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/files"
	"uringhttpd/service/flow"
)

// resizingSocket counts requests to resize a pipe, and refuses sizes above limit.
type resizingSocket struct {
	scriptedSocket
	limit int
}

func (s *resizingSocket) ResizePipe(_ *pipe, n int) error {
	if n > s.limit {
		return unix.EPERM
	}
	return nil
}

// TestPipeFollowsClientSpeed: the size of a pipe follows from the duration of a filling.
func TestPipeFollowsClientSpeed(t *testing.T) {
	const fillings = 8 * growAfter
	for _, tc := range []struct {
		name      string
		transport transport
		each      time.Duration // of a filling
		buffer    int64
		limit     int // of the kernel
		grown     int // other connections' pipes
		want      int
	}{
		{"fast", plain, fastPipe / 2, 4 << 20, maxPipe, 0, maxPipe},
		{"not so fast", plain, 2 * fastPipe, 4 << 20, maxPipe, 0, flow.Chunk},
		{"fast, with a small bound", plain, fastPipe / 2, 512 << 10, maxPipe, 0, 256 << 10},
		{"the smallest bound", plain, fastPipe / 2, flow.MinLimit, maxPipe, 0, 128 << 10},
		{"the kernel refuses", plain, fastPipe / 2, 4 << 20, 200 << 10, 0, 128 << 10},
		{"others have grown", plain, fastPipe / 2, 4 << 20, maxPipe, maxGrown, flow.Chunk},
		{"kernel TLS", kernel, fastPipe / 2, 4 << 20, maxPipe, 0, flow.Chunk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := driveSettings(nil)
			env.gen.buffer, env.loop.grownPipes = tc.buffer, tc.grown
			c := newConn(env, &resizingSocket{limit: tc.limit}, endpoint{}, nil)
			c.transport = tc.transport
			c.transfer.pipe = &pipe{size: flow.Chunk}
			now := time.Unix(1e9, 0)
			for range fillings {
				c.adjustPipe(now)
				now = now.Add(tc.each)
			}
			if got := c.transfer.pipe.size; got != tc.want {
				t.Errorf("a pipe of %d bytes, want %d", got, tc.want)
			}
			if grown := tc.want > flow.Chunk; env.loop.grownPipes != tc.grown && !grown || grown && env.loop.grownPipes != tc.grown+1 {
				t.Errorf("%d pipes are counted, %d before", env.loop.grownPipes, tc.grown)
			}
			c.adjustPipe(now.Add(growAfter * slowPipe * 2)) // it has become slow
			if got := c.transfer.pipe.size; got != flow.Chunk {
				t.Errorf("a pipe of %d bytes when the client has become slow", got)
			}
			c.endTransfer()
			if env.loop.grownPipes != tc.grown {
				t.Errorf("%d pipes are counted in the end, %d before", env.loop.grownPipes, tc.grown)
			}
		})
	}
}

// TestPipeGrowsWithFastClient: on a real connection, the kernel's pipe is larger while a fast
// client downloads.
func TestPipeGrowsWithFastClient(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 30 // a hole
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	ts := startServer(t, files.New(root, files.Options{}), nil)
	c := ts.dial(t, false)
	defer c.Close()
	fmt.Fprint(c, "GET /f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 1<<20), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	largest, buf := 0, make([]byte, 1<<20)
	for read := int64(0); read < size && largest <= flow.Chunk; {
		n, err := io.ReadFull(res.Body, buf[:min(int64(len(buf)), size-read)])
		if err != nil {
			t.Fatal(err)
		}
		read += int64(n)
		largest = max(largest, largestPipe(t))
	}
	if largest <= flow.Chunk {
		t.Errorf("the largest pipe had %d bytes", largest)
	}
	t.Logf("the largest pipe had %d bytes", largest)
}

// largestPipe returns the size of the process's largest pipe.
func largestPipe(t *testing.T) (size int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || !strings.HasPrefix(target, "pipe:") {
			continue
		}
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err == nil {
			size = max(size, n)
		}
	}
	return size
}
