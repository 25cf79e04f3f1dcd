package server

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/pool"
	"uringhttpd/uring"
)

// A system is the loop's interface to the kernel. ringSystem is the real implementation; the
// simulation returns every result that the real one may return.
type system interface {
	now() time.Time
	// start queues op for the socket fd. Its completion carries token.
	start(fd int, op operation, token uint64) (uring.Handle, error)
	accept(fd int, token uint64) (uring.Handle, error)
	awaitWaker(token uint64) (uring.Handle, error)
	awaitReadable(fd int, token uint64) (uring.Handle, error)
	// cancel cancels an operation; the completion of the cancel itself carries tokenNone.
	cancel(h uring.Handle) error
	// wait waits for completions and calls complete for each. It returns after timeout at the
	// latest; negative: no limit.
	wait(timeout time.Duration, complete func(uring.Completion)) error
	// take prepares a socket for a connection. The caller keeps the descriptor.
	take(fd int) (sock socket, peer, own netip.AddrPort, err error)
	// close closes a descriptor that has no operation in flight.
	close(fd int)
	// end cancels all operations and waits for them.
	end(complete func(uring.Completion)) error
}

// ringSystem implements system on one io_uring.
type ringSystem struct {
	ring        *uring.Ring
	waker       *pool.Waker
	wakerBuffer [8]byte // buffer for reads from the waker
}

// NewRing creates a ring like the ring of a Server, for platform.NewRings to try. It
// belongs to the calling thread, which keeps the limits of its workers.
func NewRing() (*uring.Ring, error) {
	ring, err := uring.New(ringEntries)
	if err != nil {
		return nil, err
	}
	if _, _, err := ring.LimitWorkers(boundedWorkers, unboundedWorkers); err != nil {
		return nil, errors.Join(err, ring.Close(func(uring.Completion) {}))
	}
	return ring, nil
}

func newRingSystem(waker *pool.Waker) (*ringSystem, error) {
	ring, err := NewRing()
	if err != nil {
		return nil, err
	}
	return &ringSystem{ring: ring, waker: waker}, nil
}

func (s *ringSystem) now() time.Time { return time.Now() }

func (s *ringSystem) accept(fd int, token uint64) (uring.Handle, error) {
	return s.ring.Push(uring.Accept(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), token)
}

func (s *ringSystem) awaitWaker(token uint64) (uring.Handle, error) {
	return s.ring.Push(uring.Read(s.waker.FD(), s.wakerBuffer[:], -1), token)
}

func (s *ringSystem) awaitReadable(fd int, token uint64) (uring.Handle, error) {
	return s.ring.Push(uring.Poll(fd, unix.POLLIN), token)
}

func (s *ringSystem) cancel(h uring.Handle) error {
	_, err := s.ring.Push(uring.Cancel(h), tokenNone)
	return err
}

func (s *ringSystem) wait(timeout time.Duration, complete func(uring.Completion)) error {
	return s.ring.Wait(timeout, complete)
}

func (s *ringSystem) end(complete func(uring.Completion)) error { return s.ring.Close(complete) }

func (s *ringSystem) close(fd int) { unix.Close(fd) }

func (s *ringSystem) take(fd int) (sock socket, peer, own netip.AddrPort, err error) {
	sock, err = newTCPSocket(fd)
	return sock, address(unix.Getpeername(fd)), address(unix.Getsockname(fd)), err
}

// start translates an operation of a connection into an operation of the ring.
func (s *ringSystem) start(fd int, op operation, token uint64) (uring.Handle, error) {
	var u uring.Op
	switch op.kind {
	case opRecv:
		if u = uring.Recv(fd, op.buf, 0); op.idle {
			u = u.PollFirst()
		}
	case opSend:
		flags := unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
		if op.more {
			flags |= unix.MSG_MORE
		}
		u = uring.Send(fd, op.buf, flags)
	case opAlert:
		u = uring.SendMsg(fd, op.msg, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	case opSpliceIn:
		u = uring.Splice(op.file.Fd(), op.off, op.pipe.w, -1, uint32(op.n), 0)
	case opSpliceOut:
		flags := 0
		if op.more {
			flags = unix.SPLICE_F_MORE
		}
		u = uring.Splice(op.pipe.r, -1, fd, -1, uint32(op.n), flags)
	case opWritable:
		u = uring.Poll(fd, unix.POLLOUT)
	case opClose:
		u = uring.Close(fd)
	default:
		panic(fmt.Sprintf("server: operation %d", op.kind))
	}
	if op.async {
		u = u.Async()
	}
	return s.ring.Push(u, token)
}

// address converts a result of getpeername(2) or getsockname(2); it returns the zero AddrPort
// if the call failed.
func address(sa unix.Sockaddr, err error) netip.AddrPort {
	if err != nil {
		return netip.AddrPort{}
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr).Unmap()
		if a.ZoneId != 0 { // of a link-local address: the interface's index
			ip = ip.WithZone(strconv.FormatUint(uint64(a.ZoneId), 10))
		}
		return netip.AddrPortFrom(ip, uint16(a.Port))
	}
	return netip.AddrPort{}
}
