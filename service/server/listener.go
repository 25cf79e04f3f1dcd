package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/flow"
	"uringhttpd/uring"
)

// A Listener is a listening TCP socket.
type Listener struct {
	TLS     bool
	Metrics bool   // serves metrics only
	Addr    string // local address
	fd      int

	from       uring.Address // of the client of the last accept
	preparedAt time.Time     // when prepare had set the options
	inherited  bool          // all connections accepted from now on have inherited the options
}

// Listen takes ownership of the listening socket, and closes l.
func Listen(l *net.TCPListener, withTLS bool) (*Listener, error) {
	defer l.Close()
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	out := &Listener{TLS: withTLS, Addr: l.Addr().String()}
	cerr := raw.Control(func(fd uintptr) {
		if out.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			err = os.NewSyscallError("fcntl", err)
		}
	})
	if err = errors.Join(cerr, err); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	// The ring waits for connections; with O_NONBLOCK the accept would fail with EAGAIN.
	// The flag belongs to the file description, which l shares but no longer uses.
	if err := unix.SetNonblock(out.fd, false); err != nil {
		unix.Close(out.fd)
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("fcntl", err))
	}
	if err := prepare(out.fd); err != nil {
		unix.Close(out.fd)
		return nil, err
	}
	out.preparedAt = time.Now()
	return out, nil
}

// prepare sets the options of a connection's socket, on the listener, from which Linux copies them
// to each new connection (sk_clone_lock in net/core/sock.c, tcp_create_openreq_child in
// net/ipv4/tcp_minisocks.c), or on a connection. Other processes that accept from a socket of socket
// activation get the options, too.
func prepare(fd int) error {
	// Close resets, until the connection has been drained: if the process dies now, no
	// client takes a truncated response for complete.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("setsockopt SO_LINGER", err))
	}
	// Each send that should wait for further data says so with MSG_MORE.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("setsockopt TCP_NODELAY", err))
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, flow.MinUnsent); err != nil {
		return fmt.Errorf("server: %w", os.NewSyscallError("setsockopt TCP_NOTSENT_LOWAT", err))
	}
	return nil
}

// settleTime is the time after which a connection that was created before the listener had its
// options is in the listener's queue: the kernel adds it in the same interrupt.
const settleTime = time.Second

// prepareAccepted prepares a connection that the listener has accepted, if that is necessary.
// Connections that were in the listener's queue before Listen, as with socket activation, have
// not inherited the options. The queue is in order, so all later connections have once it was empty.
func (l *Listener) prepareAccepted(fd int) error {
	if l.inherited {
		return nil
	}
	if err := prepare(fd); err != nil {
		return err
	}
	if time.Since(l.preparedAt) >= settleTime {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}, 0)
		l.inherited = err == nil && n == 0
	}
	return nil
}

// FD returns the descriptor, which the Listener still owns; -1 after Close.
func (l *Listener) FD() int { return l.fd }

// Close ends listening. Run calls it by itself.
func (l *Listener) Close() error {
	if l.fd < 0 {
		return nil
	}
	err := os.NewSyscallError("close", unix.Close(l.fd))
	l.fd = -1
	return err
}
