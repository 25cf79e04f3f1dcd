//go:build linux

package uring

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own, which ends with it.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// TestClosedRing: all methods of a closed ring, and of the zero Ring, return os.ErrClosed,
// and none of them uses a descriptor that has got the ring's number since.
func TestClosedRing(t *testing.T) {
	onThread(t, func() error {
		r, err := New(8)
		if err != nil {
			return err
		}
		fd := r.fd
		if err := r.Close(func(Completion) {}); err != nil {
			return err
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return err
		}
		defer unix.Close(pipe[0])
		defer unix.Close(pipe[1])
		// Another goroutine may have got the number; then the test uses its file.
		if pipe[0] != fd && pipe[1] != fd {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
				if err := unix.Dup3(pipe[0], fd, unix.O_CLOEXEC); err != nil {
					return err
				}
				defer unix.Close(fd)
			}
		}
		for _, ring := range []*Ring{r, {}} {
			_, pushed := ring.Push(Timeout(0), 1)
			_, _, limited := ring.LimitWorkers(0, 0)
			for name, err := range map[string]error{
				"Close":        ring.Close(func(Completion) {}),
				"Wait":         ring.Wait(0, func(Completion) {}),
				"Push":         pushed,
				"LimitWorkers": limited,
			} {
				if !errors.Is(err, os.ErrClosed) {
					return fmt.Errorf("%s: got %v, want os.ErrClosed", name, err)
				}
			}
			if n := ring.InFlight(); n != 0 {
				return fmt.Errorf("%d in flight", n)
			}
		}
		for _, fd := range []int{0, fd} {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
				return fmt.Errorf("descriptor %d was closed: %w", fd, err)
			}
		}
		return nil
	})
}

// TestNestedCalls: a function that Wait or Close calls may push, but not call Wait or Close; the
// completions after it arrive nevertheless.
func TestNestedCalls(t *testing.T) {
	onThread(t, func() error {
		r, err := New(8)
		if err != nil {
			return err
		}
		calls := 0
		nested := func(Completion) {
			calls++
			if err := r.Wait(0, func(Completion) {}); !errors.Is(err, errNested) {
				t.Errorf("Wait in the function: got %v", err)
			}
			if err := r.Close(func(Completion) {}); !errors.Is(err, errNested) {
				t.Errorf("Close in the function: got %v", err)
			}
		}
		for range 3 {
			if _, err := r.Push(Timeout(0), 1); err != nil {
				return err
			}
		}
		for end := time.Now().Add(limit); r.InFlight() > 0; {
			if time.Now().After(end) {
				return errors.New("no completion")
			}
			if err := r.Wait(time.Until(end), nested); err != nil {
				return err
			}
		}
		if calls != 3 {
			t.Errorf("%d completions, want 3", calls)
		}
		// After a function that panics the ring accepts calls again.
		if _, err := r.Push(Timeout(0), 1); err != nil {
			return err
		}
		func() {
			defer func() { recover() }()
			for r.InFlight() > 0 {
				if err := r.Wait(limit, func(Completion) { panic("test") }); err != nil {
					t.Error(err)
				}
			}
		}()
		if _, err := r.Push(Timeout(time.Hour), 1); err != nil {
			return err
		}
		calls = 0
		if err := r.Close(nested); err != nil {
			return err
		}
		if calls != 2 { // the timeout, and the cancellation
			t.Errorf("%d completions in Close, want 2", calls)
		}
		return nil
	})
}

// TestRingEntries: 0 entries are an error, and too many are clamped.
func TestRingEntries(t *testing.T) {
	for _, tc := range []struct {
		entries, want uint32 // 0: refused
	}{{0, 0}, {1, 1}, {3, 4}, {maxEntries, maxEntries}, {maxEntries + 1, maxEntries},
		{1 << 30, maxEntries}, {1<<30 + 1, maxEntries}, {1 << 31, maxEntries}, {math.MaxUint32, maxEntries}} {
		onThread(t, func() error {
			r, err := New(tc.entries)
			if tc.want == 0 {
				if !errors.Is(err, os.ErrInvalid) || errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%d entries: got %v, want os.ErrInvalid", tc.entries, err)
				}
				return nil
			}
			if err != nil {
				return fmt.Errorf("%d entries: %w", tc.entries, err)
			}
			if completions := r.cqMask + 1; r.sqEntries != tc.want || completions != min(4*tc.want, 2*maxEntries) {
				t.Errorf("%d entries: room for %d and %d completions", tc.entries, r.sqEntries, completions)
			}
			return r.Close(func(Completion) {})
		})
	}
}

// starve makes the kernel refuse all further submissions of this thread, with errno, as
// it does without memory. It cannot be undone: the thread must end.
func starve(errno unix.Errno) error {
	const nr, argument1 = 0, 24 // offsets in struct seccomp_data, the latter of its lower half on little endian
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_ENTER, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: argument1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if e != 0 {
		return os.NewSyscallError("seccomp", e)
	}
	return nil
}

// sleeps returns the number of times that this thread has waited in the kernel.
func sleeps() (int64, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_THREAD, &u)
	return int64(u.Nvcsw), err
}

// TestKernelWithoutMemory: while the kernel has no memory for new entries, Wait returns completions
// of earlier operations, and sleeps if there are none; Push gives up on a full queue, and only after
// a while.
func TestKernelWithoutMemory(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.EBUSY} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			client, server := tcpPair(t)
			onThread(t, func() error {
				r, err := New(8)
				if err != nil {
					return err
				}
				defer r.release() // Close cannot cancel: the kernel takes no entry any more
				if _, err := r.Push(Recv(server, make([]byte, 1), 0), 1); err != nil {
					return err
				}
				none := func(c Completion) { t.Errorf("%+v", c) }
				if err := r.Wait(0, none); err != nil {
					return err
				}
				if err := starve(errno); err != nil {
					return err
				}
				if _, err := r.Push(Timeout(0), 2); err != nil {
					return err
				}
				before, err := sleeps()
				if err != nil {
					return err
				}
				for _, timeout := range []time.Duration{-1, -1, limit, 0} {
					if err := r.Wait(timeout, none); err != nil {
						return fmt.Errorf("Wait: %w", err)
					}
				}
				after, err := sleeps()
				if err != nil {
					return err
				}
				if after == before {
					t.Error("Wait did not sleep")
				}
				unix.Write(client, []byte("x"))
				received := false
				for end := time.Now().Add(limit); !received; {
					if time.Now().After(end) {
						return errors.New("an operation that the kernel had taken does not complete")
					}
					err := r.Wait(time.Until(end), func(c Completion) { received = c.Token == 1 && c.Result == 1 })
					if err != nil {
						return err
					}
				}
				if before, err = sleeps(); err != nil {
					return err
				}
				for range 7 {
					if _, err := r.Push(Timeout(0), 3); err != nil {
						return fmt.Errorf("Push, with room in the queue: %w", err)
					}
				}
				if _, err := r.Push(Timeout(0), 4); !errors.Is(err, unix.EBUSY) {
					t.Errorf("Push, with a full queue: got %v, want EBUSY", err)
				}
				if after, err = sleeps(); err != nil {
					return err
				}
				if after == before {
					t.Error("Push did not sleep before it gave up")
				}
				if n := r.InFlight(); n != 8 {
					t.Errorf("%d in flight, want 8", n)
				}
				return nil
			})
		})
	}
}
