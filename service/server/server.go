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
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/platform"
	"uringhttpd/service/pool"
)

// Options say what a Server serves, and how.
type Options struct {
	Handler http.Handler // may be called on several goroutines; response bodies from memory are limited to 64 KiB
	TLS     *tls.Config  // nil if no listener has TLS

	Offload bool        // give connections to kernel TLS where the kernel takes them
	Require bool        // reset connections that the kernel does not take
	Prefer  ktls.Cipher // first, of the whole process; see ktls.PreferTLS13
	// Encryptors are who encrypts in the kernel, by the cipher suites of TLS 1.3 that it takes;
	// no others are tried. What may wait for one that is asynchronous leaves the loop.
	Encryptors []offload.Driver
	// TestCipher has the kernel encrypt with some cipher suites, and compares. It must return
	// soon after its context ends, whatever the kernel does. An error that wraps
	// offload.ErrInconclusive says nothing of the driver. Needed to Offload, since an asynchronous
	// driver may come at any time.
	TestCipher func(context.Context, []uint16) error
	// Picked tells whom the kernel would pick now for a cipher suite. It is called twice for
	// each handshake, on any goroutine; see platform.Picks. If it is nil, no driver comes or goes.
	Picked func(suite uint16) platform.Pick
	// Examine is TestCipher for drivers that have come since the start, by the cipher suites
	// that they encrypt with now. The error says why not all is known.
	Examine func(context.Context) ([]offload.TestResult, error)
	// Refused are drivers that were found wrong before the start.
	Refused []string
	Notice  func(string) // takes a sentence that a person must see; may be nil

	Connections   int           // at a time; above it, clients wait in the listen queue
	HeaderTimeout time.Duration // for a handshake, and for a request's head
	IdleTimeout   time.Duration // between requests
	StallTimeout  time.Duration // without a byte acknowledged by the client
	Buffer        int64         // bytes that the kernel may hold for a connection, 256 KiB at least
	// Memory is how many bytes the kernel should hold at most, for all connections, that
	// are not sent yet; each has a share. Where that is little, as if this is 0, each has
	// enough to go on all the same.
	Memory int64

	Log    *slog.Logger
	Access bool // log each request
}

// A Listener is a TCP socket that listens.
type Listener struct {
	TLS     bool
	Metrics bool   // it serves those, and nothing else
	Addr    string // as it is bound
	fd      int
}

// Listen takes a listening socket over, and closes l.
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
	// The ring waits for connections; O_NONBLOCK would have it answer EAGAIN.
	// The flag belongs to the description, which l shares but no longer uses.
	if err := unix.SetNonblock(out.fd, false); err != nil {
		unix.Close(out.fd)
		return nil, fmt.Errorf("server: %w", os.NewSyscallError("fcntl", err))
	}
	return out, nil
}

// FD returns the descriptor, which stays the Listener's; -1 after Close.
func (l *Listener) FD() int { return l.fd }

// Close ends listening. Run does it by itself.
func (l *Listener) Close() error {
	if l.fd < 0 {
		return nil
	}
	err := os.NewSyscallError("close", unix.Close(l.fd))
	l.fd = -1
	return err
}

// A Server serves its listeners until Shutdown. Make it with New.
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
	endRequests context.CancelFunc // ends their context
	request     atomic.Uint32      // what Shutdown and Abort asked for
}

const (
	askedShutdown = 1 + iota
	askedAbort
)

// New returns a server for listeners, which it owns from here on. Nothing is
// accepted before Run.
func New(opts Options, listeners []*Listener) (*Server, error) {
	waker, err := pool.NewWaker()
	if err != nil {
		return nil, err
	}
	s := &Server{
		gen: &generation{
			handler:       opts.Handler,
			require:       opts.Require,
			headerTimeout: opts.HeaderTimeout,
			idleTimeout:   opts.IdleTimeout,
			stallTimeout:  opts.StallTimeout,
			buffer:        max(opts.Buffer, minBuffer),
			connections:   opts.Connections,
			log:           opts.Log,
			access:        opts.Access,
		},
		proc:       &process{drivers: drivers{picked: opts.Picked}, sameHost: sameHost},
		memory:     opts.Memory,
		listeners:  listeners,
		waker:      waker,
		testCipher: opts.TestCipher,
		examine:    opts.Examine,
		refused:    opts.Refused,
		notice:     opts.Notice,
	}
	s.proc.offloads.Store(opts.Offload)
	s.proc.drivers.add(opts.Encryptors)
	s.proc.counters.drivers = &s.proc.drivers
	s.proc.lifetime, s.endRequests = context.WithCancel(context.Background())
	if opts.TLS != nil {
		ktls.PreferTLS13(opts.Prefer)
		s.gen.sessions = ktls.NewServer(opts.TLS)
		s.gen.sessions.PreferTLS12(opts.Prefer)
	}
	return s, nil
}

// Shutdown has Run stop accepting, let transfers end, and return. It may be
// called from any goroutine, and returns at once.
func (s *Server) Shutdown() { s.ask(askedShutdown) }

// Abort has Run reset all connections, and return ErrAborted.
// Handlers that still run learn it from their requests' context.
func (s *Server) Abort() {
	s.endRequests()
	s.ask(askedAbort)
}

// ErrAborted is what Run returns after Abort.
var ErrAborted = errors.New("server: connections were reset")

func (s *Server) ask(what uint32) {
	s.request.Store(what)
	s.waker.Wake()
}
