package pool

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Waker wakes an event loop from other goroutines. It is an eventfd that the loop reads.
type Waker struct {
	mu sync.Mutex
	fd int // -1: closed
}

// NewWaker returns a Waker. Its descriptor blocks, so that a read of it in io_uring stays pending.
func NewWaker() (*Waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("pool: %w", os.NewSyscallError("eventfd", err))
	}
	return &Waker{fd: fd}, nil
}

// FD returns the descriptor, which remains the Waker's. A read returns 8 bytes once Wake was called.
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

// Close closes the descriptor.
func (w *Waker) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	unix.Close(w.fd)
	w.fd = -1
}
