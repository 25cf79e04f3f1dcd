package server

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Each splice is handed to a thread of the kernel's, and how much it moves is the
// size of the pipe. So a pipe grows with what its client takes in a few
// milliseconds, and shrinks when that becomes less; docs/decisions/0009-bounds.md
// has what it brings. In kernel TLS it brings nothing, and pipes stay as they are.
const (
	maxPipe   = 1 << 20 // without privilege, more is refused: fs.pipe-max-size
	maxGrown  = 16      // pipes above chunk at a time, a quarter of fs.pipe-user-pages-soft
	growAfter = 16      // fillings of a pipe that are looked at together
	fastPipe  = 2 * time.Millisecond
	slowPipe  = 16 * time.Millisecond
)

// A pipe is the way of file pages into a socket.
type pipe struct {
	r, w  int
	size  int  // bytes
	fixed bool // the kernel does not make it larger
	// Since mark, it was filled so often.
	mark     time.Time
	fillings int
}

// newPipe makes a pipe of the kernel's usual size, 64 KiB. For a user who has
// many, the kernel may make it smaller; then a splice moves less.
func newPipe() (*pipe, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("pipe2", err))
	}
	return &pipe{r: p[0], w: p[1], size: chunk}, nil
}

// resize asks the kernel for another size, at least that of what is in it.
func (p *pipe) resize(n int) error {
	if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, n); err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("fcntl F_SETPIPE_SZ", err))
	}
	return nil
}

// fit gives an empty pipe the size that its client is worth.
func (c *conn) fit(now time.Time) {
	p := c.transfer.pipe
	if c.transport == kernel {
		return
	}
	if p.mark.IsZero() {
		p.mark = now
		return
	}
	p.fillings++
	took := now.Sub(p.mark)
	size := p.size
	switch {
	case took > growAfter*slowPipe: // however few they were
		size = chunk
	case p.fillings < growAfter:
		return
	case took < growAfter*fastPipe:
		size = min(2*size, maxPipe, int(c.gen.buffer/2))
	}
	p.mark, p.fillings = now, 0
	if size == p.size || size > p.size && (p.fixed || p.size == chunk && c.loop.grown >= maxGrown) {
		return
	}
	if err := c.sock.ResizePipe(p, size); err != nil { // EPERM: this user's pipes have enough pages
		p.fixed = true
		return
	}
	c.resized(p.size, size)
	p.size = size
}

// resized counts the pipes that have grown.
func (c *conn) resized(before, after int) {
	switch {
	case before == chunk && after > chunk:
		c.loop.grown++
	case before > chunk && after == chunk:
		c.loop.grown--
	}
}
