//go:build linux && oracle && (amd64 || arm64)

package uring

// giouring follows liburing function by function. It is no part of the program:
// it does not compile for 32-bit ARM, and links only with
//
//	go test -tags oracle -ldflags=-checklinkname=0 ./uring
//
// But an entry that both encode alike, with a result that both rings return alike, is right.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// A pair is one operation in both encodings.
type pair struct {
	name   string
	ours   Op
	theirs func(e *giouring.SubmissionQueueEntry)
}

// A fixture holds the files and sockets of the operations; each ring has its own.
type fixture struct {
	listener, client, server, file int
	extra                          int // a descriptor to close
	pipe                           [2]int
	buf                            []byte
	msg                            *Message
	ts                             *syscall.Timespec
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{buf: make([]byte, 64), msg: NewMessage([]byte("message"), nil), ts: &syscall.Timespec{Nsec: 1e6}}
	f.client, f.server = tcpPair(t)
	var err error
	if f.extra, err = unix.FcntlInt(uintptr(f.server), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	f.file = int(file.Fd())
	if err := unix.Pipe2(f.pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(f.pipe[0]); unix.Close(f.pipe[1]) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lf, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lf.Close(); ln.Close() })
	f.listener = int(lf.Fd())
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return f
}

// pairs are all operations, in an order in which each can complete.
func (f *fixture) pairs() []pair {
	address := uintptr(unsafe.Pointer(&f.buf[0]))
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	return []pair{
		{"accept", Accept(f.listener, flags), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareAccept(f.listener, 0, 0, flags)
		}},
		{"poll", Poll(f.server, unix.POLLOUT), func(e *giouring.SubmissionQueueEntry) {
			e.PreparePollAdd(f.server, unix.POLLOUT)
		}},
		{"send", Send(f.server, f.buf[:5], unix.MSG_NOSIGNAL), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareSend(f.server, address, 5, unix.MSG_NOSIGNAL)
		}},
		{"sendmsg", SendMsg(f.server, f.msg, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareSendMsg(f.server, (*syscall.Msghdr)(unsafe.Pointer(&f.msg.hdr)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		}},
		{"recv after poll", Recv(f.client, f.buf, unix.MSG_PEEK).PollFirst(), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareRecv(f.client, address, uint32(len(f.buf)), unix.MSG_PEEK)
			e.IoPrio |= giouring.RecvsendPollFirst
		}},
		{"recv", Recv(f.client, f.buf, 0), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareRecv(f.client, address, uint32(len(f.buf)), 0)
		}},
		{"read", Read(f.file, f.buf, 3), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareRead(f.file, address, uint32(len(f.buf)), 3)
		}},
		{"splice in", Splice(f.file, 2, f.pipe[1], -1, 1<<16, 0), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareSplice(f.file, 2, f.pipe[1], -1, 1<<16, 0)
		}},
		{"splice out", Splice(f.pipe[0], -1, f.server, -1, 8, unix.SPLICE_F_MORE), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareSplice(f.pipe[0], -1, f.server, -1, 8, unix.SPLICE_F_MORE)
		}},
		{"splice at the end", Splice(f.file, 10, f.pipe[1], -1, 1<<16, 0), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareSplice(f.file, 10, f.pipe[1], -1, 1<<16, 0)
		}},
		{"timeout", timeoutAt(f.ts), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareTimeout(f.ts, 0, 0)
			// giouring gives the kernel the address of its own pointer.
			e.Addr = uint64(uintptr(unsafe.Pointer(f.ts)))
		}},
		{"cancel of nothing", Cancel(1 << 40), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareCancel64(1<<40, 0)
		}},
		{"close", Close(f.extra), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareClose(f.extra)
		}},
		{"close again", Close(f.extra), func(e *giouring.SubmissionQueueEntry) {
			e.PrepareClose(f.extra)
		}},
	}
}

// timeoutAt is Timeout with the time standing where the test wants it.
func timeoutAt(ts *syscall.Timespec) Op {
	op := Timeout(time.Duration(ts.Nano()))
	if *(*kernelTimespec)(op.hold) != (kernelTimespec{sec: ts.Sec, nsec: ts.Nsec}) {
		panic("uring: Timeout's time")
	}
	op.sqe.addr, op.hold = uint64(uintptr(unsafe.Pointer(ts))), unsafe.Pointer(ts)
	return op
}

func TestOracleEncoding(t *testing.T) {
	f := newFixture(t)
	defer unix.Close(f.extra) // nothing is run here that closes it
	for _, p := range f.pairs() {
		var e giouring.SubmissionQueueEntry
		p.theirs(&e)
		ours := *(*[64]byte)(unsafe.Pointer(&p.ours.sqe))
		theirs := *(*[64]byte)(unsafe.Pointer(&e))
		if ours != theirs {
			t.Errorf("%s:\nours   %x\ntheirs %x", p.name, ours, theirs)
		}
	}
}

// TestOracleBehaviour runs the same sequence on both rings.
func TestOracleBehaviour(t *testing.T) {
	ours, theirs := newFixture(t), newFixture(t)
	var got, want []string
	onRing(t, 8, func(r *Ring) error {
		for _, p := range ours.pairs() {
			c, err := one(r, p.ours)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			got = append(got, describe(p.name, c.Result, ours.buf))
		}
		return nil
	})
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- func() error {
			ring, err := giouring.CreateRing(8)
			if err != nil {
				return err
			}
			defer ring.QueueExit()
			for _, p := range theirs.pairs() {
				e := ring.GetSQE()
				if e == nil {
					return errors.New("no entry")
				}
				*e = giouring.SubmissionQueueEntry{} // its Prepare functions leave the last user's flags
				p.theirs(e)
				c, err := giouringOne(ring)
				if err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
				want = append(want, describe(p.name, c, theirs.buf))
			}
			return nil
		}()
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("ours %s, theirs %s", got[i], want[i])
			}
		}
	}
}

// giouringOne submits and waits, again when a signal of Go's scheduler came.
func giouringOne(ring *giouring.Ring) (int32, error) {
	_, err := ring.SubmitAndWait(1)
	for err != nil && errors.Is(err, unix.EINTR) {
		_, err = ring.SubmitAndWait(1)
	}
	if err != nil {
		return 0, err
	}
	c, err := ring.PeekCQE()
	if err != nil {
		return 0, err
	}
	res := c.Res
	ring.CQESeen(c)
	return res, nil
}

// describe hides a difference that is allowed: the number of an accepted descriptor.
func describe(name string, result int32, buf []byte) string {
	if name == "accept" && result >= 0 {
		unix.Close(int(result))
		result = 0
	}
	return fmt.Sprintf("%s %d %q", name, result, buf)
}
