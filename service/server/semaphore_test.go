package server

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
	"uringhttpd/uring"
)

// hangingSystem is a system in which no splice from a file ends, unless a test completes it.
type hangingSystem struct {
	system
	spliced []uint64 // tokens of reads into pipes
	other   []uint64
	clock   time.Time
}

func (d *hangingSystem) now() time.Time { return d.clock }

func (d *hangingSystem) start(_ int, op operation, token uint64) (uring.Handle, error) {
	if op.kind == opSpliceIn {
		d.spliced = append(d.spliced, token-tokenBase)
	} else {
		d.other = append(d.other, token-tokenBase)
	}
	return 1, nil
}

// TestFillSemaphore: while storage hangs, maxFills splices wait for it. For other connections
// workers copy cached data. Connections without cached data wait in order, for a limited time, and
// operations that are no reads continue.
func TestFillSemaphore(t *testing.T) {
	const n = maxFills + 3
	now := time.Unix(1e9, 0)
	disk := &hangingSystem{clock: now}
	env := driveSettings(nil)
	s := &Server{gen: env.gen, proc: env.proc}
	s.gen.stallTimeout = time.Minute
	workers := &manualPool{}
	l := &loop{Server: s, shared: env.loop, sys: disk, workers: workers, fills: semaphore{free: maxFills}, now: now}
	w := newWorld(&script{}, newSimIdentity(t))
	for i := range n {
		c := newConn(l.environment(), &simSocket{w: w}, endpoint{}, nil)
		sl := &slot{conn: c, token: uint64(i), fd: i, heapIndex: -1}
		l.slots = append(l.slots, sl)
		f := &simOpen{w: w, size: 1 << 20}
		c.transfer.pieces = []piece{{file: f, n: f.size, splice: true}}
		l.perform(sl, c.send(now, thenEndResponse))
	}
	expect := func(what string, got []uint64, want ...uint64) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("at the start", disk.spliced, 0, 1, 2, 3)
	var looked []uint64
	for _, j := range workers.jobs {
		looked = append(looked, j.token)
	}
	expect("reads of cached data", looked, 4, 5, 6)
	workers.jobs = nil
	for _, token := range looked { // it is not
		l.slots[token].conn.jobErr = http1.ErrWouldBlock
		l.jobDone(l.slots[token])
	}
	expect("when nothing is cached", disk.spliced, 0, 1, 2, 3)

	l.complete(uring.Completion{Token: tokenBase + 2, Result: 1000})
	expect("when one splice has ended", disk.spliced, 0, 1, 2, 3, 4)
	expect("the next operation of that connection", disk.other, 2)

	// A splice that is in the ring cannot be cancelled. A splice that waits for the semaphore is,
	// and workers read the file if it is in the page cache.
	disk.clock = now.Add(fillQueueTime)
	l.now = disk.clock
	l.expire()
	expect("after fillQueueTime", disk.spliced, 0, 1, 2, 3, 4)
	expect("other operations", disk.other, 2)
	var copied []uint64
	for _, j := range workers.jobs {
		copied = append(copied, j.token)
	}
	slices.Sort(copied) // deadlines at one time come in any order
	expect("copied", copied, 5, 6)

	for i := range 5 { // the disk fails
		if i != 2 {
			l.complete(uring.Completion{Token: tokenBase + uint64(i), Result: -int32(unix.EIO)})
		}
	}
	if l.fills.free != maxFills || len(l.fills.waiting) != 0 {
		t.Errorf("in the end %d units are free, and %d operations wait", l.fills.free, len(l.fills.waiting))
	}
}
