// Package pool runs jobs on worker goroutines for an event loop: the computation of a handshake,
// a handler that opens a file, reads, and encryption in user space. A finished job wakes the loop,
// which then collects the job's token with Finished.
//
// A job that hangs in a file system or a crypto driver cannot be interrupted. Replace starts a new
// worker in its place, and Close does not wait for the hung one.
//
// To debug a hung job: SIGQUIT prints the stacks of all goroutines, and /proc/PID/task/*/stack those
// of the threads in the kernel.
package pool

import (
	"slices"
	"sync"
	"time"
)

// A Pool runs jobs, each identified by a token of its caller. Methods may be called from any goroutine.
type Pool interface {
	// Submit queues run. Jobs start in the order they were queued.
	Submit(token uint64, run func())
	// Withdraw removes a job that has not started. It returns false if there is no such job.
	Withdraw(token uint64) bool
	// Runs reports whether the job is running.
	Runs(token uint64) bool
	// Finished appends the tokens of jobs that have finished since the last call.
	Finished(buf []uint64) []uint64
	// Replace starts another worker in place of the one that runs the job. It returns false, and
	// does nothing, if the job is not running or its worker was replaced before. If the job
	// finishes later, Finished still returns its token.
	Replace(token uint64) bool
	// Close drops jobs that have not started, and waits at most limit for the others, except those
	// of replaced workers. It reports whether they have finished.
	Close(limit time.Duration) bool
}

// workers is a Pool with a fixed number of goroutines.
type workers struct {
	wg    sync.WaitGroup
	waker *Waker

	mu     sync.Mutex
	more   sync.Cond // signalled after a change of jobs or closed
	jobs   []job     // queue
	closed bool
	done   []uint64 // tokens of finished jobs, for Finished
	begun  []uint64 // tokens of running jobs
	lost   []uint64 // of these, the jobs whose worker was replaced
}

type job struct {
	token uint64
	run   func()
}

// New starts a Pool of n goroutines. Each finished job wakes the waker, which may be nil. Close ends
// the goroutines.
func New(n int, waker *Waker) Pool {
	w := &workers{waker: waker}
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
			return // its successor calls Done
		}
	}
	w.wg.Done()
}

// next waits for a job. ok is false once the pool is closed.
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

// ended reports whether the worker that ran the job was replaced meanwhile.
func (w *workers) ended(token uint64) (replaced bool) {
	w.mu.Lock()
	w.begun, _ = without(w.begun, token)
	w.lost, replaced = without(w.lost, token)
	w.done = append(w.done, token)
	w.mu.Unlock()
	w.waker.Wake()
	return replaced
}

// without removes token from tokens, and reports whether tokens contained it.
func without(tokens []uint64, token uint64) (rest []uint64, was bool) {
	i := slices.Index(tokens, token)
	if i < 0 {
		return tokens, false
	}
	return slices.Delete(tokens, i, i+1), true
}

func (w *workers) Replace(token uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.begun, token) || slices.Contains(w.lost, token) {
		return false
	}
	w.lost = append(w.lost, token)
	go w.work()
	return true
}

func (w *workers) Submit(token uint64, run func()) {
	w.mu.Lock()
	w.jobs = append(w.jobs, job{token, run})
	w.mu.Unlock()
	w.more.Signal()
}

func (w *workers) Withdraw(token uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.jobs)
	w.jobs = slices.DeleteFunc(w.jobs, func(j job) bool { return j.token == token })
	return len(w.jobs) < n
}

func (w *workers) Runs(token uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.begun, token)
}

func (w *workers) Finished(buf []uint64) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	buf = append(buf, w.done...)
	w.done = w.done[:0]
	return buf
}

func (w *workers) Close(limit time.Duration) bool {
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
