package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/platform/cryptoapi"
	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
	"uringhttpd/service/pool"
)

// Options configure a Server.
type Options struct {
	// Cache answers requests in place of Handler; nil: none. Run closes it.
	Cache   http1.Cache
	Handler http.Handler // may be called on several goroutines; response bodies from memory are limited to 64 KiB
	TLS     *tls.Config  // nil if no listener has TLS

	Offload bool        // use kernel TLS for connections that the kernel accepts
	Require bool        // reset connections that the kernel does not accept
	Prefer  ktls.Cipher // preferred cipher, for the whole process; see ktls.PreferTLS13
	// Drivers are the tested kernel drivers, by the TLS 1.3 cipher suites that the kernel
	// supports; no others are used. Operations that may wait for an asynchronous driver run
	// off the loop.
	Drivers []offload.Driver
	// TestCipher tests some cipher suites: it makes the kernel encrypt, and verifies the result.
	// It must return soon after its context ends, even if the kernel hangs. An error that wraps
	// offload.ErrInconclusive is no verdict on the driver. It is required with Offload, because
	// an asynchronous driver may be registered at any time.
	TestCipher func(context.Context, []uint16) error
	// Picked returns the driver that the kernel would select now for a cipher suite. It is called
	// twice for each handshake, on any goroutine; see cryptoapi.Watcher. If it is nil, the drivers
	// never change.
	Picked func(suite uint16) cryptoapi.Selection
	// Examine is TestCipher for drivers registered since the start, by the cipher suites for
	// which they are selected now. The error is the reason if a result is missing.
	Examine func(context.Context) ([]offload.TestResult, error)
	// Refused are drivers that failed a test before the start.
	Refused []string
	Notice  func(string) // receives a message for the operator; may be nil

	// Limits are those of the configuration. Above Connections, clients wait in the listen
	// backlog. HeaderTimeout is for a handshake, and for a request's head. A Buffer below 256 KiB
	// counts as 256 KiB. Rate has no effect.
	config.Limits
	// Memory is the limit of unsent bytes that the kernel should hold for all connections
	// together; each has a share. If the share is small, as with Memory = 0, each connection
	// still has enough to make progress.
	Memory int64

	Log    *slog.Logger
	Access bool // log each request
}

// A Listener is a listening TCP socket.
type Listener struct {
	TLS     bool
	Metrics bool   // serves metrics only
	Addr    string // local address
	fd      int
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
	return out, nil
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

// A Server serves its listeners until Shutdown. New creates it.
type Server struct {
	gen         *generation
	proc        *process
	memory      int64 // Options.Memory
	listeners   []*Listener
	waker       *pool.Waker
	testCipher  func(context.Context, []uint16) error
	examine     func(context.Context) ([]offload.TestResult, error)
	refused     []string
	notice      func(string)
	endRequests context.CancelFunc // cancels the requests' context
	stopRequest atomic.Uint32      // request of Shutdown or Abort
}

const (
	stopGracefully = 1 + iota
	stopNow
)

// New returns a server for listeners, which it owns from now on. No connection is
// accepted before Run.
func New(opts Options, listeners []*Listener) (*Server, error) {
	waker, err := pool.NewWaker()
	if err != nil {
		return nil, err
	}
	s := &Server{
		gen: &generation{
			handler:       opts.Handler,
			cache:         opts.Cache,
			require:       opts.Require,
			headerTimeout: opts.HeaderTimeout,
			idleTimeout:   opts.IdleTimeout,
			stallTimeout:  opts.StallTimeout,
			buffer:        max(opts.Buffer, flow.MinLimit),
			connections:   opts.Connections,
			log:           opts.Log,
			access:        opts.Access,
		},
		proc:       &process{drivers: drivers{selected: opts.Picked}, sameHost: sameHost},
		memory:     opts.Memory,
		listeners:  listeners,
		waker:      waker,
		testCipher: opts.TestCipher,
		examine:    opts.Examine,
		refused:    opts.Refused,
		notice:     opts.Notice,
	}
	s.proc.offloads.Store(opts.Offload)
	s.proc.drivers.add(opts.Drivers)
	s.proc.counters.drivers = &s.proc.drivers
	s.proc.lifetime, s.endRequests = context.WithCancel(context.Background())
	if opts.TLS != nil {
		ktls.PreferTLS13(opts.Prefer)
		s.gen.sessions = ktls.NewServer(opts.TLS)
		s.gen.sessions.PreferTLS12(opts.Prefer)
	}
	return s, nil
}

// Shutdown makes Run stop accepting, finish the transfers, and return. It may be
// called from any goroutine, and returns at once.
func (s *Server) Shutdown() { s.requestStop(stopGracefully) }

// Abort makes Run reset all connections, and return ErrAborted.
// Running handlers are notified by their requests' context.
func (s *Server) Abort() {
	s.endRequests()
	s.requestStop(stopNow)
}

// ErrAborted is Run's error after Abort.
var ErrAborted = errors.New("server: connections were reset")

func (s *Server) requestStop(request uint32) {
	s.stopRequest.Store(request)
	s.waker.Wake()
}
