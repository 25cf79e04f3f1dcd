//go:build linux

package uring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLimitWorkers: more splices than there may be threads wait for empty pipes.
// The kernel creates threads up to the limit, and when the first splices end, the others run.
// Without the limit it creates one for each.
func TestLimitWorkers(t *testing.T) {
	const splices, limited = 12, 3
	for _, tc := range []struct {
		name string
		max  int
		want int
	}{{"limited", limited, limited}, {"as the kernel has it", 0, splices}} {
		t.Run(tc.name, func(t *testing.T) {
			target, err := os.OpenFile(filepath.Join(t.TempDir(), "target"), os.O_CREATE|os.O_RDWR, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			var pipes [splices][2]int
			for i := range pipes {
				if err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC); err != nil {
					t.Fatal(err)
				}
				defer unix.Close(pipes[i][0])
				defer unix.Close(pipes[i][1])
			}
			var drain [2]int
			if err := unix.Pipe2(drain[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(drain[0])
			defer unix.Close(drain[1])

			onRing(t, 2*splices, func(r *Ring) error {
				if _, _, err := r.LimitWorkers(2, tc.max); err != nil {
					return err
				}
				if b, u, err := r.LimitWorkers(0, 0); err != nil || b != 2 || tc.max > 0 && u != tc.max {
					return fmt.Errorf("the limits are %d and %d, %v, want 2 and %d", b, u, err, tc.max)
				}
				for i := range pipes {
					if _, err := r.Push(Splice(pipes[i][0], -1, drain[1], -1, 1, 0), uint64(i)); err != nil {
						return err
					}
				}
				// Each thread that waits makes the kernel start the next, up to the limit.
				if err := r.Wait(0, func(Completion) {}); err != nil {
					return err
				}
				if err := awaitWorkers(tc.want); err != nil {
					return err
				}
				for i := range pipes {
					if _, err := unix.Write(pipes[i][1], []byte("x")); err != nil {
						return err
					}
				}
				var failed error
				for end := time.Now().Add(limit); r.InFlight() > 0 && failed == nil; {
					if time.Now().After(end) {
						return fmt.Errorf("%d splices never ran", r.InFlight())
					}
					if err := r.Wait(time.Until(end), func(c Completion) { failed = errors.Join(failed, want(c, nil, 1)) }); err != nil {
						return err
					}
				}
				// Idle threads stay for five seconds, so this counts all threads that were created.
				if n, err := countWorkers(); err != nil || n != tc.want {
					failed = errors.Join(failed, fmt.Errorf("%d threads of io_uring at the end, %v, want %d", n, err, tc.want))
				}
				return failed
			})
		})
	}
}

// awaitWorkers waits until the kernel has created n threads for this thread's rings.
func awaitWorkers(n int) error {
	for end := time.Now().Add(limit); ; time.Sleep(time.Millisecond) { // nothing tells of a new thread
		got, err := countWorkers()
		switch {
		case err != nil:
			return err
		case got >= n:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%d threads of io_uring, want %d", got, n)
		}
	}
}

// countWorkers counts these threads. The kernel names them after the thread that owns the ring.
func countWorkers() (n int, err error) {
	names, err := filepath.Glob("/proc/self/task/*/comm")
	ours := fmt.Sprintf("iou-wrk-%d\n", unix.Gettid())
	for _, name := range names {
		if comm, err := os.ReadFile(name); err == nil && string(comm) == ours {
			n++
		}
	}
	return n, err
}

// TestLimitWorkersRefuses: a number out of range is an error, and is not clamped.
func TestLimitWorkersRefuses(t *testing.T) {
	onRing(t, 4, func(r *Ring) error {
		if _, _, err := r.LimitWorkers(-1, 4); !errors.Is(err, os.ErrInvalid) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}
