package client

import (
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// errLeft is the cause of connections that the client ended on purpose.
var errLeft = errors.New("the client left")

// flight is about the number of bytes that a server sends before its first response.
const flight = 1500

// leaveAfter chooses a byte of the server's output: in the handshake, around the start of the
// response, or anywhere.
func (w *worker) leaveAfter() int {
	rest := int64(flight)
	if w.o.Content != nil && w.o.Length == 0 {
		rest += w.o.Content.Size
	}
	for _, r := range w.o.ranges() {
		rest += r.Length
	}
	if w.random == nil {
		w.random = rand.New(rand.NewPCG(w.o.Seed, uint64(w.number)))
	}
	switch w.random.IntN(4) {
	case 0:
		return w.random.IntN(flight)
	case 1:
		return flight/2 + w.random.IntN(flight)
	}
	return int(w.random.Int64N(rest))
}

// A leavingConn leaves at the byte number left.
type leavingConn struct {
	net.Conn
	tcp  *net.TCPConn
	how  Leave
	left int  // bytes until it leaves
	done bool // the client has left, or is about to leave
}

func (c *leavingConn) Read(p []byte) (int, error) {
	if c.done && c.how == LeaveByReset {
		return 0, errLeft
	}
	if c.left == 0 && c.how == LeaveByReset {
		c.done = true
		// The close that follows sends RST.
		return 0, errors.Join(errLeft, c.tcp.SetLinger(0))
	}
	if c.how == LeaveByReset {
		p = p[:min(len(p), c.left)]
	}
	n, err := c.Conn.Read(p)
	if c.how == LeaveByAlert && !c.done && n > c.left {
		c.done = true
		// Zeros: the record gets no longer by them, so crypto/tls need not wait.
		clear(p[c.left:n])
	}
	c.left -= n
	return n, err
}

// hold reads nothing for a while, after the start of the response has arrived.
func (w *worker) hold() error {
	if !w.o.Silent {
		timer := time.NewTimer(w.o.Hold)
		defer timer.Stop()
		<-timer.C
		return nil
	}
	raw, err := w.tcp.SyscallConn()
	if err != nil {
		return err
	}
	// POLLHUP is set when both sides are shut down, POLLERR after a reset.
	return errors.Join(err, raw.Control(func(fd uintptr) {
		deadline := time.Now().Add(w.o.Hold)
		for left := w.o.Hold; left > 0; left = time.Until(deadline) {
			n, perr := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, int(left.Milliseconds())+1)
			if perr != unix.EINTR && (perr != nil || n > 0) {
				return
			}
		}
	}))
}
