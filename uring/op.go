//go:build linux

package uring

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Op is one operation, ready to be pushed on a Ring. The zero Op is not
// valid; the functions below make them. Each names the system call whose
// arguments and errors it shares.
type Op struct {
	sqe  sqe
	hold unsafe.Pointer // the memory that the entry points to, held until the completion
}

// Async has the kernel run the operation on a worker thread (IOSQE_ASYNC)
// instead of trying it first on the thread that submits.
func (o Op) Async() Op {
	o.sqe.flags |= sqeAsync
	return o
}

// Accept takes a connection from the listening socket fd: accept4(2). flags are
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

// Send sends buf: send(2). With MSG_DONTWAIT it answers EAGAIN instead of
// waiting for room. The result is the number of bytes taken, which may be less
// than len(buf).
func Send(fd int, buf []byte, flags int) Op {
	return memory(opSend, fd, buf, 0, flags)
}

// Read reads into buf from offset off of the file fd: pread(2).
func Read(fd int, buf []byte, off int64) Op {
	return memory(opRead, fd, buf, uint64(off), 0)
}

// memory makes an operation on one buffer. A length above 1 GiB is cut to that,
// as the kernel itself does at MAX_RW_COUNT.
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

// A Message is what SendMsg sends: one buffer and its control data. It must not
// be changed between Push and the completion.
type Message struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	payload []byte
	control []byte
}

// NewMessage returns a message of payload with control (struct cmsghdr and
// data, may be empty). It holds both slices; it does not copy them.
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

// Payload and Control are what NewMessage was given.
func (m *Message) Payload() []byte { return m.payload }

// Control is the control data.
func (m *Message) Control() []byte { return m.control }

// SendMsg sends m: sendmsg(2).
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

// Splice moves up to n bytes from in to out, one of which is a pipe, without
// their passing through user space: splice(2). An offset of -1 stands for a
// pipe or socket, or for a file's own position. flags are SPLICE_F_*. It always
// runs on one of the kernel's worker threads. The result may be less than n,
// and is 0 at the end of in.
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

// Poll waits until fd has one of events (POLLIN, POLLOUT, ...): poll(2), once.
// The result is the set of events that are there, POLLERR and POLLHUP included.
func Poll(fd int, events uint32) Op {
	return Op{sqe: sqe{opcode: opPollAdd, fd: int32(fd), opFlags: events}}
}

// Timeout completes with ETIME when d has passed on CLOCK_MONOTONIC.
func Timeout(d time.Duration) Op {
	ts := timespec(d)
	return Op{
		sqe:  sqe{opcode: opTimeout, fd: -1, addr: uint64(uintptr(unsafe.Pointer(ts))), len: 1},
		hold: unsafe.Pointer(ts),
	}
}

// Cancel ends the operation that Push returned h for, which then completes with
// ECANCELED (EINTR when it was running on a worker), unless it completed by
// itself before. Cancel itself completes with 0, with ENOENT when h was not
// found, or with EALREADY when it runs and may or may not be stopped.
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
