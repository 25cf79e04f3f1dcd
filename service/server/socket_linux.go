package server

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// tcpSocket is the socket of a real connection. It does not own fd.
type tcpSocket struct {
	fd    int
	meter *ktls.Meter
}

// newTCPSocket prepares an accepted socket. stall is how long TCP waits for its client.
func newTCPSocket(fd int, stall time.Duration) (*tcpSocket, error) {
	// Reset, until the connection has been drained: if the program dies now, no
	// client takes what it has for the whole.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("setsockopt SO_LINGER", err))
	}
	// What should wait for more to come is said with each send.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("setsockopt TCP_NODELAY", err))
	}
	// While TCP has something to send, it alone knows when the client last took something; a
	// look at the meter tells that it did since the last look. So the kernel ends the wait:
	// with ETIMEDOUT, when nothing was acknowledged for so long (tcp(7)).
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(stall.Milliseconds(), 1))); err != nil {
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", err))
	}
	m, err := ktls.NewMeter(ktls.FD(fd))
	if err != nil {
		return nil, err
	}
	s := &tcpSocket{fd: fd, meter: m}
	s.LimitUnsent(minUnsent)
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

// LimitUnsent cannot fail on a TCP socket. What the network does not take now need not
// be in the kernel.
func (s *tcpSocket) LimitUnsent(n int) {
	unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n)
}

func (s *tcpSocket) Pipe() (*pipe, error) { return newPipe() }

func (s *tcpSocket) ResizePipe(p *pipe, n int) error { return p.resize(n) }

func (s *tcpSocket) ClosePipe(p *pipe) {
	unix.Close(p.r)
	unix.Close(p.w)
}

// Received takes what TCP has, also what came before a reset.
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
	return s.linger(unix.Linger{})
}

// Push sets TCP_NODELAY, which sends what is queued (__tcp_sock_set_nodelay in
// net/ipv4/tcp.c). That fails on no socket that matters still.
func (s *tcpSocket) Push() {
	unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func (s *tcpSocket) Abort() { s.linger(unix.Linger{Onoff: 1}) }

func (s *tcpSocket) linger(l unix.Linger) error {
	return os.NewSyscallError("setsockopt SO_LINGER", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &l))
}

// Err reads and clears the socket's error. An engine that fails leaves one, and
// nothing else tells of it until the next send.
func (s *tcpSocket) Err() error {
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("getsockopt SO_ERROR", err))
	}
	if errno != 0 {
		return fmt.Errorf("server: the kernel sends no more: %w", unix.Errno(errno))
	}
	return nil
}

// Empty tells whether nothing is inside kernel TLS.
func (s *tcpSocket) Empty() bool {
	r, err := s.meter.Read()
	return (err == nil || errors.Is(err, unix.ECONNRESET)) && r.Pending <= 0
}

// HangUp sends FIN behind what TCP has, and takes no more from the client.
// Without close_notify and the rest of a body the client can tell.
func (s *tcpSocket) HangUp() { unix.Shutdown(s.fd, unix.SHUT_RDWR) }
