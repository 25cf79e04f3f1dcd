package server

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/flow"
)

// tcpSocket is the socket of a real connection. It does not own fd.
type tcpSocket struct {
	fd    int
	meter *ktls.Meter
}

// newTCPSocket prepares an accepted socket.
func newTCPSocket(fd int) (*tcpSocket, error) {
	// Close resets, until the connection has been drained: if the process dies now, no
	// client takes a truncated response for complete.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("setsockopt SO_LINGER", err))
	}
	// Each send that should wait for further data says so with MSG_MORE.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("setsockopt TCP_NODELAY", err))
	}
	m, err := ktls.NewMeter(ktls.FD(fd))
	if err != nil {
		return nil, err
	}
	s := &tcpSocket{fd: fd, meter: m}
	s.LimitUnsent(flow.MinUnsent)
	return s, nil
}

func (s *tcpSocket) Offload(session *ktls.Session) error {
	m, err := session.Offload(ktls.FD(s.fd))
	if err == nil {
		s.meter = m
	}
	return err
}

func (s *tcpSocket) Sent(n int) { s.meter.Sent(n) }

func (s *tcpSocket) Reading() (ktls.Reading, error) { return s.meter.Read() }

// LimitUnsent cannot fail on a TCP socket. The limit keeps data out of the kernel that the
// network does not accept yet.
func (s *tcpSocket) LimitUnsent(n int) {
	unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n)
}

func (s *tcpSocket) Pipe() (*pipe, error) { return newPipe() }

func (s *tcpSocket) ResizePipe(p *pipe, n int) error { return p.resize(n) }

func (s *tcpSocket) ClosePipe(p *pipe) {
	unix.Close(p.r)
	unix.Close(p.w)
}

// Received reads the data that TCP holds, including data received before a reset.
func (s *tcpSocket) Received(p []byte) int {
	n, _, err := unix.Recvfrom(s.fd, p, unix.MSG_DONTWAIT)
	if err != nil {
		return 0
	}
	return n
}

func (s *tcpSocket) Shutdown() error {
	if err := unix.Shutdown(s.fd, unix.SHUT_WR); err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("shutdown", err))
	}
	return s.setLinger(unix.Linger{})
}

// Push sets TCP_NODELAY, which sends queued data (__tcp_sock_set_nodelay in
// net/ipv4/tcp.c). It can fail only on a socket that is no longer usable.
func (s *tcpSocket) Push() {
	unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func (s *tcpSocket) Abort() { s.setLinger(unix.Linger{Onoff: 1}) }

func (s *tcpSocket) setLinger(l unix.Linger) error {
	return os.NewSyscallError("setsockopt SO_LINGER", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &l))
}

// Err reads and clears the socket's error. A failed engine sets that error, which is
// not reported otherwise until the next send.
func (s *tcpSocket) Err() error {
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("getsockopt SO_ERROR", err))
	}
	if errno != 0 {
		return fmt.Errorf("server: the socket failed: %w", unix.Errno(errno))
	}
	return nil
}

// Empty reports whether nothing is inside kernel TLS.
func (s *tcpSocket) Empty() bool {
	r, err := s.meter.Read()
	return (err == nil || errors.Is(err, unix.ECONNRESET)) && r.Pending <= 0
}

// HangUp sends FIN after the data that TCP has, and stops receiving.
// The client can tell that data is missing, because neither close_notify nor the rest of the
// body arrives.
func (s *tcpSocket) HangUp() { unix.Shutdown(s.fd, unix.SHUT_RDWR) }
