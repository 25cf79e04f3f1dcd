package server

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/flow"
)

// Each splice runs on a thread of the kernel, and moves at most the size of the pipe.
// So a pipe grows with the bytes that its client receives in a few milliseconds, and shrinks
// when the client becomes slower; docs/decisions/0009-bounds.md describes the gain. In kernel
// TLS there is no gain, and pipes keep their size.
const (
	maxPipe   = 1 << 20 // above this, the kernel requires privilege: fs.pipe-max-size
	maxGrown  = 16      // limit of pipes larger than a chunk at a time; a quarter of fs.pipe-user-pages-soft
	growAfter = 16      // fillings of a pipe that are measured together
	fastPipe  = 2 * time.Millisecond
	slowPipe  = 16 * time.Millisecond
)

// A pipe carries file pages into a socket.
type pipe struct {
	r, w  int
	size  int  // bytes
	fixed bool // the kernel refuses to enlarge it
	// The number of fillings since mark.
	measuredFrom time.Time
	fillings     int
}

// newPipe creates a pipe of the kernel's default size, 64 KiB. The kernel may make it smaller
// for a user with many pipes; a splice then moves less.
func newPipe() (*pipe, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("pipe2", err))
	}
	return &pipe{r: p[0], w: p[1], size: flow.Chunk}, nil
}

// resize requests another size, which must not be less than the bytes in the pipe.
func (p *pipe) resize(n int) error {
	if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, n); err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("fcntl F_SETPIPE_SZ", err))
	}
	return nil
}

// adjustPipe adjusts the size of an empty pipe to the speed of its client.
func (c *conn) adjustPipe(now time.Time) {
	p := c.transfer.pipe
	if c.transport == kernel {
		return
	}
	if p.measuredFrom.IsZero() {
		p.measuredFrom = now
		return
	}
	p.fillings++
	took := now.Sub(p.measuredFrom)
	size := p.size
	switch {
	case took > growAfter*slowPipe: // whatever their number
		size = flow.Chunk
	case p.fillings < growAfter:
		return
	case took < growAfter*fastPipe:
		size = min(2*size, maxPipe, int(c.gen.buffer/2))
	}
	p.measuredFrom, p.fillings = now, 0
	if size == p.size || size > p.size && (p.fixed || p.size == flow.Chunk && c.loop.grownPipes >= maxGrown) {
		return
	}
	if err := c.sock.ResizePipe(p, size); err != nil { // EPERM: the pipes of this user have reached the limit of pages
		p.fixed = true
		return
	}
	c.countGrown(p.size, size)
	p.size = size
}

// countGrown counts the enlarged pipes.
func (c *conn) countGrown(before, after int) {
	switch {
	case before == flow.Chunk && after > flow.Chunk:
		c.loop.grownPipes++
	case before > flow.Chunk && after == flow.Chunk:
		c.loop.grownPipes--
	}
}
