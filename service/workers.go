package service

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A pool runs the jobs that would keep the loop from its other connections: a
// handshake's arithmetic, a handler that opens a file, sealing in user space.
// It rings the loop's bell at the end of each.
type pool interface {
	submit(token uint64, run func())
	// finished appends the tokens of jobs that have ended since the last call.
	finished(buf []uint64) []uint64
	// lose takes a worker for gone, whose job, of token, does not end; another has
	// its place. It tells whether there is one.
	lose(token uint64) bool
	// close drops the jobs that wait, and waits for those that run, but for lost
	// ones; at most for limit, if that is not 0, and tells whether they ended.
	close(limit time.Duration) bool
}

// workers are a pool of goroutines.
type workers struct {
	jobs chan job
	wg   sync.WaitGroup
	bell *bell

	mu   sync.Mutex
	done []uint64 // tokens of jobs that have ended
	runs []uint64 // of those that run
	lost []uint64 // of them, those whose worker has been replaced
}

type job struct {
	token uint64
	run   func()
}

// newWorkers starts n workers. Submit would wait if more than limit jobs were
// with them at a time: one for each connection that there may be.
func newWorkers(n, limit int, b *bell) *workers {
	w := &workers{jobs: make(chan job, limit), bell: b}
	w.wg.Add(n)
	for range n {
		go w.work()
	}
	return w
}

func (w *workers) work() {
	for j := range w.jobs {
		w.mu.Lock()
		w.runs = append(w.runs, j.token)
		w.mu.Unlock()
		j.run()
		w.mu.Lock()
		w.runs, _ = without(w.runs, j.token)
		var replaced bool
		w.lost, replaced = without(w.lost, j.token)
		w.done = append(w.done, j.token)
		w.mu.Unlock()
		w.bell.ring()
		if replaced {
			return // the one that took the place is counted
		}
	}
	w.wg.Done()
}

// without takes a token out of tokens, if it is there.
func without(tokens []uint64, token uint64) (rest []uint64, was bool) {
	i := slices.Index(tokens, token)
	if i < 0 {
		return tokens, false
	}
	return slices.Delete(tokens, i, i+1), true
}

func (w *workers) lose(token uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.runs, token) || slices.Contains(w.lost, token) {
		return false
	}
	w.lost = append(w.lost, token)
	go w.work()
	return true
}

func (w *workers) submit(token uint64, run func()) { w.jobs <- job{token, run} }

func (w *workers) finished(buf []uint64) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	buf = append(buf, w.done...)
	w.done = w.done[:0]
	return buf
}

func (w *workers) close(limit time.Duration) bool {
	for len(w.jobs) > 0 {
		select {
		case <-w.jobs:
		default:
		}
	}
	close(w.jobs)
	if limit == 0 {
		w.wg.Wait()
		return true
	}
	ended := make(chan struct{})
	go func() {
		w.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// A bell wakes the loop from other goroutines: an eventfd that the ring reads.
type bell struct {
	mu sync.Mutex
	fd int // -1: closed
}

func newBell() (*bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // blocking: the ring then waits for it
	if err != nil {
		return nil, fmt.Errorf("service: %w", os.NewSyscallError("eventfd", err))
	}
	return &bell{fd: fd}, nil
}

// ring adds one to the counter; it would only wait at 2^64-1. After close it
// does nothing.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(b.fd, one[:])
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	unix.Close(b.fd)
	b.fd = -1
}
