//go:build linux

package uring

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onRing runs f on a thread of its own with a ring, and fails if an operation is in flight
// at the end. A kernel without io_uring fails the test: there is nothing to
// skip to, since the program cannot work there either.
func onRing(t *testing.T, entries uint32, f func(r *Ring) error) {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		r, err := New(entries)
		if err == nil {
			err = f(r)
			if n := r.InFlight(); err == nil && n != 0 {
				err = fmt.Errorf("%d operations in flight at the end", n)
			}
			err = errors.Join(err, r.Close(func(Completion) {}))
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

const limit = 20 * time.Second // of any wait that should not be one

// one pushes op and returns its completion.
func one(r *Ring, op Op) (Completion, error) {
	if _, err := r.Push(op, 7); err != nil {
		return Completion{}, err
	}
	return next(r)
}

// next returns the next completion, and fails on a second one beside it.
func next(r *Ring) (c Completion, err error) {
	n := 0
	for end := time.Now().Add(limit); n == 0; {
		if time.Now().After(end) {
			return c, errors.New("no completion")
		}
		if err := r.Wait(time.Until(end), func(got Completion) { c, n = got, n+1 }); err != nil {
			return c, err
		}
	}
	if n > 1 {
		return c, fmt.Errorf("%d completions for one operation", n)
	}
	return c, nil
}

func want(c Completion, err error, result int) error {
	if err != nil {
		return err
	}
	if int(c.Result) != result {
		return fmt.Errorf("result %d (%v), want %d", c.Result, c.Errno(), result)
	}
	return nil
}

// tcpPair returns the descriptors of a connection over loopback.
func tcpPair(t *testing.T) (client, server int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return detach(t, a), detach(t, b)
}

func detach(t *testing.T, c net.Conn) int {
	t.Helper()
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// TestSocketOperations accepts a connection, sends on it in two ways, receives, and closes.
func TestSocketOperations(t *testing.T) {
	lfd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(lfd)
	if err := errors.Join(unix.Bind(lfd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(lfd, 1)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(lfd)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(limit))
	client.Write([]byte("request"))
	onRing(t, 8, func(r *Ring) error {
		c, err := one(r, Accept(lfd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC))
		if err != nil || c.Result < 0 || c.Token != 7 {
			return fmt.Errorf("accept: %+v, %v", c, err)
		}
		fd := int(c.Result)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			return fmt.Errorf("the connection is not non-blocking: %#x, %v", flags, err)
		}
		buf := make([]byte, 64)
		c, err = one(r, Recv(fd, buf, 0))
		if err := want(c, err, 7); err != nil || string(buf[:7]) != "request" {
			return fmt.Errorf("recv: %q, %w", buf, err)
		}
		c, err = one(r, Send(fd, []byte("resp"), unix.MSG_NOSIGNAL|unix.MSG_MORE))
		if err := want(c, err, 4); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		c, err = one(r, SendMsg(fd, NewMessage([]byte("onse"), nil), unix.MSG_NOSIGNAL).Async())
		if err := want(c, err, 4); err != nil {
			return fmt.Errorf("sendmsg: %w", err)
		}
		c, err = one(r, Close(fd))
		return want(c, err, 0)
	})
	got := make([]byte, 64)
	n := 0
	for n < 8 {
		m, err := client.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if string(got[:n]) != "response" {
		t.Errorf("got %q", got[:n])
	}
}

// TestRecvWaits: a receive on a non-blocking socket waits inside the ring, and ends at once if there
// is data already, whether or not it tries to receive first.
func TestRecvWaits(t *testing.T) {
	for _, pollFirst := range []bool{false, true} {
		client, server := tcpPair(t)
		unix.SetNonblock(server, true)
		onRing(t, 8, func(r *Ring) error {
			buf := make([]byte, 8)
			op := Recv(server, buf, 0)
			if pollFirst {
				op = op.PollFirst()
			}
			for _, waits := range []bool{true, false} {
				if !waits {
					if _, err := unix.Write(client, []byte("x")); err != nil {
						return err
					}
				}
				if _, err := r.Push(op, 1); err != nil {
					return err
				}
				if waits {
					if err := r.Wait(0, func(c Completion) { t.Errorf("completed before there was data: %+v", c) }); err != nil {
						return err
					}
					if _, err := unix.Write(client, []byte("x")); err != nil {
						return err
					}
				}
				c, err := next(r)
				if err = want(c, err, 1); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// TestSplice moves part of a file, from beyond 4 GiB, through a pipe into a
// socket, and finds the file shorter than asked at its end.
func TestSplice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const at = 5 << 30
	data := bytes.Repeat([]byte("firmware"), 1000)
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	client, server := tcpPair(t)
	onRing(t, 8, func(r *Ring) error {
		c, err := one(r, Splice(int(f.Fd()), at+4, p[1], -1, 1<<16, 0))
		if err := want(c, err, len(data)-4); err != nil {
			return fmt.Errorf("into the pipe: %w", err)
		}
		c, err = one(r, Splice(p[0], -1, server, -1, uint32(len(data)-4), 0))
		if err := want(c, err, len(data)-4); err != nil {
			return fmt.Errorf("into the socket: %w", err)
		}
		got := make([]byte, len(data)-4)
		for n := 0; n < len(got); {
			c, err := one(r, Recv(client, got[n:], 0))
			if err != nil || c.Result <= 0 {
				return fmt.Errorf("recv: %+v, %v", c, err)
			}
			n += int(c.Result)
		}
		if !bytes.Equal(got, data[4:]) {
			return errors.New("wrong bytes")
		}
		c, err = one(r, Splice(int(f.Fd()), at+int64(len(data)), p[1], -1, 1<<16, 0))
		if err := want(c, err, 0); err != nil {
			return fmt.Errorf("at the end of the file: %w", err)
		}
		buf := make([]byte, 16)
		c, err = one(r, Read(int(f.Fd()), buf, at+8))
		if err := want(c, err, 16); err != nil || string(buf) != "firmwarefirmware" {
			return fmt.Errorf("read: %q, %w", buf, err)
		}
		return nil
	})
}

func TestPollTimeoutCancel(t *testing.T) {
	client, server := tcpPair(t)
	onRing(t, 8, func(r *Ring) error {
		c, err := one(r, Poll(server, unix.POLLOUT))
		if err := want(c, err, unix.POLLOUT); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		c, err = one(r, Timeout(time.Millisecond))
		if err := want(c, err, -int(unix.ETIME)); err != nil {
			return fmt.Errorf("timeout: %w", err)
		}
		// Cancelling names one operation: the other on the same socket stays.
		buf := make([]byte, 1)
		recv, err := r.Push(Recv(server, buf, 0), 1)
		if err != nil {
			return err
		}
		if _, err := r.Push(Poll(server, unix.POLLIN), 2); err != nil {
			return err
		}
		if _, err := r.Push(Cancel(recv), 3); err != nil {
			return err
		}
		got := map[uint64]int32{}
		for end := time.Now().Add(limit); len(got) < 2 && time.Now().Before(end); {
			if err := r.Wait(time.Until(end), func(c Completion) { got[c.Token] = c.Result }); err != nil {
				return err
			}
		}
		if got[1] != -int32(unix.ECANCELED) || got[3] != 0 || len(got) != 2 {
			return fmt.Errorf("after a cancel: %v", got)
		}
		// A handle that was used does not name the next operation in its place.
		if _, err := r.Push(Recv(server, buf, unix.MSG_PEEK), 4); err != nil {
			return err
		}
		if c, err := one(r, Cancel(recv)); want(c, err, -int(unix.ENOENT)) != nil {
			return fmt.Errorf("cancel of an old handle: %+v, %v", c, err)
		}
		unix.Write(client, []byte("x"))
		for end := time.Now().Add(limit); r.InFlight() > 0 && time.Now().Before(end); {
			if err := r.Wait(time.Until(end), func(c Completion) { got[c.Token] = c.Result }); err != nil {
				return err
			}
		}
		if got[2] != unix.POLLIN || got[4] != 1 {
			return fmt.Errorf("at the end: %v", got)
		}
		return nil
	})
}

// TestWaitTimeout: Wait ends without a completion when its time is up.
func TestWaitTimeout(t *testing.T) {
	onRing(t, 8, func(r *Ring) error {
		return r.Wait(time.Millisecond, func(c Completion) { t.Errorf("%+v", c) })
	})
}

// TestManyInFlight pushes more than the queues hold, several times over; every
// token must come back once.
func TestManyInFlight(t *testing.T) {
	onRing(t, 8, func(r *Ring) error {
		const n = 1000
		seen := make([]int, n)
		for i := range seen {
			if _, err := r.Push(Timeout(time.Millisecond), uint64(i)); err != nil {
				return err
			}
		}
		for end := time.Now().Add(limit); r.InFlight() > 0 && time.Now().Before(end); {
			if err := r.Wait(time.Until(end), func(c Completion) { seen[c.Token]++ }); err != nil {
				return err
			}
		}
		for token, times := range seen {
			if times != 1 {
				return fmt.Errorf("token %d completed %d times", token, times)
			}
		}
		return nil
	})
}

// TestOverflow: more completions than the queue has entries all arrive, once.
func TestOverflow(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	onRing(t, 8, func(r *Ring) error {
		const n = 200 // and room for 32
		seen := make([]int, n)
		for i := range seen { // the pipe has room: each completes as soon as the kernel sees it
			if _, err := r.Push(Poll(p[1], unix.POLLOUT), uint64(i)); err != nil {
				return err
			}
		}
		if atomic.LoadUint32(r.sqFlags)&sqCQOverflow == 0 {
			return errors.New("the queue did not overflow: this proves nothing")
		}
		for calls := 0; r.InFlight() > 0; calls++ {
			if calls > n {
				return fmt.Errorf("%d of %d completions did not arrive", r.InFlight(), n)
			}
			if err := r.Wait(limit, func(c Completion) { seen[c.Token]++ }); err != nil {
				return err
			}
		}
		for token, times := range seen {
			if times != 1 {
				return fmt.Errorf("token %d completed %d times", token, times)
			}
		}
		return nil
	})
}

// TestCloseCancels: Close ends the operations in flight, and releases all resources.
func TestCloseCancels(t *testing.T) {
	_, server := tcpPair(t)
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		r, err := New(8)
		if err != nil {
			result <- err
			return
		}
		for range 3 {
			if _, err := r.Push(Recv(server, make([]byte, 8), 0), 1); err != nil {
				result <- err
				return
			}
		}
		err = r.Close(func(Completion) {})
		if r.InFlight() != 0 {
			err = fmt.Errorf("%d in flight after Close", r.InFlight())
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// TestOtherThread: a thread that did not create the ring gets an error.
func TestOtherThread(t *testing.T) {
	onRing(t, 8, func(r *Ring) error {
		other := make(chan error)
		go func() {
			runtime.LockOSThread()
			other <- r.Wait(0, func(Completion) {})
		}()
		if err := <-other; !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("got %v, want EEXIST", err)
		}
		return nil
	})
}

// TestRestricted: the kernel refuses operations, flags and registrations that this package does not
// use, such as the creation of a socket.
func TestRestricted(t *testing.T) {
	const opSocket = 45 // IORING_OP_SOCKET, Linux 5.19
	onRing(t, 8, func(r *Ring) error {
		c, err := one(r, Op{sqe: sqe{opcode: opSocket, fd: unix.AF_INET, off: unix.SOCK_STREAM}})
		if err := want(c, err, -int(unix.EACCES)); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		drained := Op{sqe: sqe{opcode: opClose, fd: -1, flags: 1 << 1}} // IOSQE_IO_DRAIN
		c, err = one(r, drained)
		if err := want(c, err, -int(unix.EACCES)); err != nil {
			return fmt.Errorf("IOSQE_IO_DRAIN: %w", err)
		}
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), 2, 0, 0, 0, 0) // IORING_REGISTER_FILES
		if errno != unix.EACCES {
			return fmt.Errorf("IORING_REGISTER_FILES: %v", errno)
		}
		return nil
	})
}

// TestWaitLetsGoroutinesRun: other goroutines run while an operation executes inside a call of Wait
// that does not wait, on a single processor.
func TestWaitLetsGoroutinesRun(t *testing.T) {
	f, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 64<<20) // takes much longer than the scheduler needs to notice
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	onRing(t, 4, func(r *Ring) error {
		if _, err := r.Push(Read(int(f.Fd()), buf, 0), 7); err != nil {
			return err
		}
		var ran atomic.Bool
		done := make(chan bool)
		go func() {
			ran.Store(true)
			close(done)
		}()
		err := r.Wait(0, func(Completion) {})
		during := ran.Load()
		<-done
		if err != nil {
			return err
		}
		if r.InFlight() > 0 {
			t.Log("this kernel does not read the device inside the call")
			_, err := next(r)
			return err
		}
		if !during {
			return errors.New("another goroutine waited for the end of the call")
		}
		return nil
	})
}

func TestFeatureError(t *testing.T) {
	err := error(&FeatureError{"io_uring", "io_uring_setup", unix.EPERM})
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, unix.EPERM) || err.Error() != "uring: no io_uring: io_uring_setup: operation not permitted" {
		t.Errorf("the text of the error is %v", err)
	}
	err = &FeatureError{Feature: "IORING_OP_SPLICE"}
	if !errors.Is(err, errors.ErrUnsupported) || err.Error() != "uring: the kernel does not have IORING_OP_SPLICE" {
		t.Errorf("the text of the error is %v", err)
	}
}

func BenchmarkRing(b *testing.B) {
	runtime.LockOSThread()
	r, err := New(64)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(func(Completion) {})
	f, err := os.Open("/dev/zero")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Push(Read(int(f.Fd()), buf, 0), 1); err != nil {
			b.Fatal(err)
		}
		if err := r.Wait(-1, func(Completion) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnter compares a system call that the scheduler is told of with one that it is not:
// cheap operations, submitted at once, that complete in the call.
func BenchmarkEnter(b *testing.B) {
	for _, call := range []struct {
		name string
		do   func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, errno unix.Errno)
	}{{"raw", unix.RawSyscall6}, {"syscall", unix.Syscall6}} {
		for _, n := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/%d", call.name, n), func(b *testing.B) {
				runtime.LockOSThread()
				r, err := New(64)
				if err != nil {
					b.Fatal(err)
				}
				defer r.Close(func(Completion) {})
				b.ReportAllocs()
				for b.Loop() {
					for range n {
						if _, err := r.Push(Cancel(0), 1); err != nil {
							b.Fatal(err)
						}
					}
					atomic.StoreUint32(r.sqTail, r.tail)
					r.arg, r.queued = getEventsArg{}, 0
					if _, _, errno := call.do(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 0, enterGetEvents|enterExtArg,
						uintptr(unsafe.Pointer(&r.arg)), unsafe.Sizeof(r.arg)); errno != 0 {
						b.Fatal(errno)
					}
					if err := r.Wait(0, func(Completion) {}); err != nil || r.inFlight > 0 {
						b.Fatal(err, r.inFlight)
					}
				}
			})
		}
	}
}
