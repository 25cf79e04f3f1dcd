//go:build linux

package uring

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Op is an operation, ready to be pushed on a Ring. The zero Op is not valid; the
// functions below make an Op. The comment of each function names the system call whose
// arguments and errors it shares.
type Op struct {
	sqe  sqe
	hold unsafe.Pointer // memory that the entry points to, held until the completion
}

// Async returns the operation with the flag IOSQE_ASYNC: the kernel runs it on a worker
// thread instead of trying it first on the submitting thread.
func (o Op) Async() Op {
	o.sqe.flags |= sqeAsync
	return o
}

// PollFirst returns a receive that waits for data before it tries to receive. That saves the first
// try if no data is expected yet, and changes nothing else (IORING_RECVSEND_POLL_FIRST).
func (o Op) PollFirst() Op {
	o.sqe.ioprio |= recvPollFirst
	return o
}

// Accept accepts a connection of the listening socket fd: accept4(2). flags are
// SOCK_NONBLOCK and SOCK_CLOEXEC. The result is the new descriptor.
func Accept(fd int, flags int) Op {
	return Op{sqe: sqe{opcode: opAccept, fd: int32(fd), opFlags: uint32(flags)}}
}

// Recv receives into buf: recv(2). It waits for data inside the kernel without
// holding a thread, whether or not the socket is non-blocking, unless flags has
// MSG_DONTWAIT. The result is the number of bytes, 0 at the end of the stream.
func Recv(fd int, buf []byte, flags int) Op {
	return memory(opRecv, fd, buf, 0, flags)
}

// Send sends buf: send(2). With MSG_DONTWAIT it completes with EAGAIN instead of
// waiting for room. The result is the number of bytes accepted, which may be less
// than len(buf).
func Send(fd int, buf []byte, flags int) Op {
	return memory(opSend, fd, buf, 0, flags)
}

// Read reads into buf from offset off, in bytes, of the file fd: pread(2). The result is
// the number of bytes, 0 at the end of the file.
func Read(fd int, buf []byte, off int64) Op {
	return memory(opRead, fd, buf, uint64(off), 0)
}

// memory returns an operation on a buffer. It truncates a length above 1 GiB to 1 GiB,
// as the kernel itself truncates at MAX_RW_COUNT.
func memory(opcode uint8, fd int, buf []byte, off uint64, flags int) Op {
	p := unsafe.SliceData(buf)
	return Op{
		sqe: sqe{
			opcode:  opcode,
			fd:      int32(fd),
			off:     off,
			addr:    uint64(uintptr(unsafe.Pointer(p))),
			len:     uint32(min(len(buf), 1<<30)),
			opFlags: uint32(flags),
		},
		hold: unsafe.Pointer(p),
	}
}

// A Message is the argument of SendMsg: a buffer and its control data. It must not be
// changed between Push and the completion.
type Message struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	payload []byte
	control []byte
}

// NewMessage returns a message of payload with control (struct cmsghdr and data, may
// be empty). It keeps both slices without copying them.
func NewMessage(payload, control []byte) *Message {
	m := &Message{payload: payload, control: control}
	m.iov.Base = unsafe.SliceData(payload)
	m.iov.SetLen(len(payload))
	m.hdr.Iov = &m.iov
	m.hdr.SetIovlen(1)
	if len(control) > 0 {
		m.hdr.Control = unsafe.SliceData(control)
		m.hdr.SetControllen(len(control))
	}
	return m
}

// Payload returns the payload that was passed to NewMessage.
func (m *Message) Payload() []byte { return m.payload }

// Control returns the control data that was passed to NewMessage.
func (m *Message) Control() []byte { return m.control }

// SendMsg sends m: sendmsg(2). The result is the number of payload bytes accepted.
func SendMsg(fd int, m *Message, flags int) Op {
	p := unsafe.Pointer(&m.hdr)
	return Op{
		sqe: sqe{
			opcode:  opSendMsg,
			fd:      int32(fd),
			addr:    uint64(uintptr(p)),
			len:     1,
			opFlags: uint32(flags),
		},
		hold: unsafe.Pointer(m),
	}
}

// Splice moves up to n bytes from in to out, at least one a pipe, without copying them
// through user space: splice(2). An offset of -1 is required for a pipe or socket, and
// means the current position for a file. flags are SPLICE_F_*. A splice always runs on
// a worker thread of the kernel. The result may be less than n, and is 0 at the end of
// in.
func Splice(in int, offIn int64, out int, offOut int64, n uint32, flags int) Op {
	return Op{sqe: sqe{
		opcode:     opSplice,
		fd:         int32(out),
		off:        uint64(offOut),
		addr:       uint64(offIn),
		len:        n,
		opFlags:    uint32(flags),
		spliceFdIn: int32(in),
	}}
}

// Poll waits until fd has any of events (POLLIN, POLLOUT, ...): poll(2), once.
// The result is the set of pending events, POLLERR and POLLHUP included.
func Poll(fd int, events uint32) Op {
	return Op{sqe: sqe{opcode: opPollAdd, fd: int32(fd), opFlags: events}}
}

// Timeout completes with ETIME when d has passed on CLOCK_MONOTONIC. A negative d counts
// as 0.
func Timeout(d time.Duration) Op {
	ts := timespec(d)
	return Op{
		sqe:  sqe{opcode: opTimeout, fd: -1, addr: uint64(uintptr(unsafe.Pointer(ts))), len: 1},
		hold: unsafe.Pointer(ts),
	}
}

// Cancel cancels the operation for which Push returned h. That operation completes with
// ECANCELED (EINTR if it was running on a worker), unless it has completed by itself
// before. Cancel itself completes with 0, with ENOENT if h was not found, or with
// EALREADY if the operation is running and may or may not be stopped.
func Cancel(h Handle) Op {
	return Op{sqe: sqe{opcode: opAsyncCancel, fd: -1, addr: uint64(h)}}
}

// Close closes fd: close(2).
func Close(fd int) Op {
	return Op{sqe: sqe{opcode: opClose, fd: int32(fd)}}
}

func timespec(d time.Duration) *kernelTimespec {
	d = max(d, 0)
	return &kernelTimespec{sec: int64(d / time.Second), nsec: int64(d % time.Second)}
}
