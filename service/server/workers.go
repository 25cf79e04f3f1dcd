package server

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
// handshake's arithmetic, a handler that opens a file, reading, sealing in user
// space. It rings the loop's bell at the end of each.
type pool interface {
	submit(token uint64, run func())
	// withdraw takes back the job of token, and tells whether it had not begun.
	withdraw(token uint64) bool
	// runs tells whether the job of token has begun, and not ended.
	runs(token uint64) bool
	// finished appends the tokens of jobs that have ended since the last call.
	finished(buf []uint64) []uint64
	// lose takes a worker for gone, whose job, of token, does not end; another has
	// its place. It tells whether there is one.
	lose(token uint64) bool
	// close drops the jobs that wait, and waits for those that run, but for lost
	// ones, for limit at most. It tells whether they ended.
	close(limit time.Duration) bool
}

// workers are a pool of goroutines.
type workers struct {
	wg   sync.WaitGroup
	bell *bell

	mu     sync.Mutex
	more   sync.Cond // of mu: jobs or closed has changed
	jobs   []job     // that wait, in order
	closed bool
	done   []uint64 // tokens of jobs that have ended
	begun  []uint64 // of those that run
	lost   []uint64 // of them, those whose worker has been replaced
}

type job struct {
	token uint64
	run   func()
}

// newWorkers starts n workers.
func newWorkers(n int, b *bell) *workers {
	w := &workers{bell: b}
	w.more.L = &w.mu
	w.wg.Add(n)
	for range n {
		go w.work()
	}
	return w
}

func (w *workers) work() {
	for {
		j, ok := w.next()
		if !ok {
			break
		}
		j.run()
		if w.ended(j.token) {
			return // the one that took the place is counted
		}
	}
	w.wg.Done()
}

// next waits for a job to begin; ok is false if there will be none.
func (w *workers) next() (j job, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.jobs) == 0 {
		if w.closed {
			return j, false
		}
		w.more.Wait()
	}
	j = w.jobs[0]
	w.jobs = slices.Delete(w.jobs, 0, 1)
	w.begun = append(w.begun, j.token)
	return j, true
}

// ended tells whether the worker that ran the job has been replaced meanwhile.
func (w *workers) ended(token uint64) (replaced bool) {
	w.mu.Lock()
	w.begun, _ = without(w.begun, token)
	w.lost, replaced = without(w.lost, token)
	w.done = append(w.done, token)
	w.mu.Unlock()
	w.bell.ring()
	return replaced
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
	if !slices.Contains(w.begun, token) || slices.Contains(w.lost, token) {
		return false
	}
	w.lost = append(w.lost, token)
	go w.work()
	return true
}

func (w *workers) submit(token uint64, run func()) {
	w.mu.Lock()
	w.jobs = append(w.jobs, job{token, run})
	w.mu.Unlock()
	w.more.Signal()
}

func (w *workers) withdraw(token uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.jobs)
	w.jobs = slices.DeleteFunc(w.jobs, func(j job) bool { return j.token == token })
	return len(w.jobs) < n
}

func (w *workers) runs(token uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.begun, token)
}

func (w *workers) finished(buf []uint64) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	buf = append(buf, w.done...)
	w.done = w.done[:0]
	return buf
}

func (w *workers) close(limit time.Duration) bool {
	w.mu.Lock()
	w.jobs, w.closed = nil, true
	w.mu.Unlock()
	w.more.Broadcast()
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
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("eventfd", err))
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
