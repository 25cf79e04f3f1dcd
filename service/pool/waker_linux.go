package pool

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Waker wakes an event loop from other goroutines. It is an eventfd (eventfd(2)) that the loop reads.
// Methods may be called from any goroutine.
type Waker struct {
	mu sync.Mutex
	fd int // -1: closed
}

// NewWaker returns a Waker; the caller closes it. Its descriptor is in blocking mode, so that a read
// by io_uring stays pending. The error is that of eventfd(2).
func NewWaker() (*Waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("pool: %w", os.NewSyscallError("eventfd", err))
	}
	return &Waker{fd: fd}, nil
}

// FD returns the descriptor, which the Waker still owns. A read returns 8 bytes after a call of Wake.
func (w *Waker) FD() int { return w.fd }

// Wake ends the loop's read, or its next one. After Close, or on a nil Waker, it does nothing.
func (w *Waker) Wake() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(w.fd, one[:]) // blocks only at 2^64-1
}

// Close closes the descriptor. Wake does nothing afterwards.
func (w *Waker) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	unix.Close(w.fd)
	w.fd = -1
}
