package ktls

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// ErrWouldBlock is what Session.Read answers when it needs more of what the
// client sends: feed it and read again.
var ErrWouldBlock = errors.New("ktls: more input is needed")

// errSealed is for what crypto/tls cannot want to send by itself once the kernel
// has the sending keys.
var errSealed = errors.New("ktls: the kernel has the sending keys")

// A Server makes sessions that share a configuration and the keys of session
// tickets, which it replaces daily. Its methods may be called concurrently.
type Server struct {
	base     *tls.Config
	prefer12 []uint16 // cipher suites of TLS 1.2

	mu      sync.Mutex
	keys    [][32]byte // newest first
	renewAt time.Time
}

const (
	ticketKeyAge = 24 * time.Hour
	ticketKeys   = 7 // tickets live seven days, as in crypto/tls
)

// NewServer returns a Server for cfg, which must not be changed afterwards.
func NewServer(cfg *tls.Config) *Server { return &Server{base: cfg} }

// Session starts one connection's session. Close must be called.
func (s *Server) Session() (*Session, error) {
	// KeyLogWriter is a member of the configuration, so each connection has its
	// own; a clone would also have ticket keys of its own if they were not set.
	cfg := s.base.Clone()
	if !cfg.SessionTicketsDisabled {
		keys, err := s.ticketKeys(time.Now())
		if err != nil {
			return nil, err
		}
		cfg.SetSessionTicketKeys(keys)
	}
	ss := &Session{wire: wire{need: make(chan struct{}), more: make(chan struct{}), quit: make(chan struct{})}}
	cfg.KeyLogWriter = &ss.secrets
	if len(s.prefer12) > 0 {
		limit(cfg, s.prefer12)
	}
	ss.tls = tls.Server(&ss.wire, cfg)
	return ss, nil
}

func (s *Server) ticketKeys(now time.Time) ([][32]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) > 0 && now.Before(s.renewAt) {
		return s.keys, nil
	}
	var k [32]byte
	if _, err := rand.Read(k[:]); err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	s.keys = append([][32]byte{k}, s.keys[:min(len(s.keys), ticketKeys-1)]...)
	s.renewAt = now.Add(ticketKeyAge)
	return s.keys, nil
}

// A Session is the server's side of one TLS connection. It does no I/O. Its
// methods must not be called concurrently.
type Session struct {
	wire    wire
	tls     *tls.Conn
	secrets secretLog
	result  chan error // the end of the handshake's goroutine; nil before it starts
	done    bool       // the handshake is complete
	keys    *txKeys    // what Offload hands over; nil if it cannot
	own     *txKeys    // after Offload: what crypto/tls still seals with
	wants   []Message  // see Message
}

// Handshake takes what the client sent (nothing at first) and goes as far as it
// can. It reports whether the handshake is complete. Output must be sent after
// each call, also when the error is not nil: it may hold an alert. The work is
// that of the handshake's public-key operations, so call it where some
// milliseconds of computing do not matter.
func (s *Session) Handshake(input []byte) (done bool, err error) {
	s.wire.in = append(s.wire.in, input...)
	if s.result == nil {
		s.result = make(chan error, 1)
		go func() { s.result <- s.tls.HandshakeContext(context.Background()) }()
	} else {
		s.wire.more <- struct{}{}
	}
	select {
	case <-s.wire.need:
		return false, nil
	case err = <-s.result:
	}
	s.result <- err // Close looks here too
	if err != nil {
		return false, fmt.Errorf("ktls: handshake: %w", err)
	}
	s.done = true
	s.wire.mode = wireFed
	s.keys, err = s.sendingKeys()
	s.wire.flight, s.secrets = nil, secretLog{}
	return true, err
}

// sendingKeys are what the kernel needs to go on; nil where it cannot.
func (s *Session) sendingKeys() (*txKeys, error) {
	state, flight := s.tls.ConnectionState(), s.wire.flight
	switch {
	case s.Suite() == 0 || s.secrets.secret == nil: // crypto/tls logs no secret of a resumed TLS 1.2 session
		return nil, nil
	case state.Version == tls.VersionTLS12:
		random, err := serverRandom(flight)
		if err != nil {
			return nil, err
		}
		return deriveKeys12(state.CipherSuite, s.secrets.secret, s.secrets.clientRandom, random)
	}
	k, err := deriveKeys(state.CipherSuite, s.secrets.secret)
	if err != nil {
		return nil, err
	}
	k.seq, err = k.countRecords(flight)
	return k, err
}

// Suite names the connection's cipher by the cipher suite of TLS 1.3 that has the
// same, also if the version is 1.2; 0: Offload cannot hand it over.
func (s *Session) Suite() uint16 {
	state := s.tls.ConnectionState()
	id := state.CipherSuite
	if state.Version == tls.VersionTLS12 {
		id = suites12[id]
	}
	if _, ok := suiteOf(id); !ok {
		return 0
	}
	return id
}

// Output returns what must be sent to the client, and forgets it.
func (s *Session) Output() []byte {
	out := s.wire.out
	s.wire.out = nil
	return out
}

// Feed takes what the client sent.
func (s *Session) Feed(ciphertext []byte) { s.wire.in = append(s.wire.in, ciphertext...) }

// Read returns decrypted data of the client, ErrWouldBlock when Feed must come
// first, and io.EOF after the client's close_notify. Any other error ends the
// connection. After Offload see Message too, whatever Read returned.
func (s *Session) Read(p []byte) (int, error) {
	n, err := s.tls.Read(p)
	if len(s.wire.sealed) > 0 {
		if err := s.openSealed(); err != nil {
			return 0, err
		}
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return n, ErrWouldBlock
	}
	return n, err
}

// Message returns what the last Read wants to have sent to the client, in order;
// false: nothing more. It is for sessions that are offloaded, where Output has
// nothing: an alert, if the client broke the protocol, or the KeyUpdate that the
// client asked for. The KeyUpdate must go out before any further application
// data, and all that follows it under the next keys; a kernel that cannot change
// its keys (before Linux 6.14, net/tls/tls_main.c) leaves only to send no more
// data, and to close.
func (s *Session) Message() (m Message, ok bool) {
	if len(s.wants) == 0 {
		return Message{}, false
	}
	m, s.wants = s.wants[0], s.wants[1:]
	return m, true
}

// openSealed reads back the records that crypto/tls made for itself. It counts
// them where it stopped at the hand-over, so they never leave this program.
func (s *Session) openSealed() error {
	stream := s.wire.sealed
	s.wire.sealed = nil
	for len(stream) > 0 {
		var record []byte
		if record, stream = cutRecord(stream); record == nil {
			return errSealed
		}
		m, ok := s.own.message(s.own.seq, record)
		if !ok || !m.IsAlert() && !m.IsKeyUpdate() {
			return errSealed
		}
		s.own.seq++
		if m.IsKeyUpdate() {
			var err error
			if s.own, err = s.own.next(); err != nil {
				return err
			}
		}
		s.wants = append(s.wants, m)
	}
	return nil
}

// Write seals p in user space. It is for sessions that are not offloaded.
func (s *Session) Write(p []byte) (int, error) {
	if s.wire.mode == wireSealed {
		return 0, errSealed
	}
	return s.tls.Write(p)
}

// CloseNotify puts a close_notify alert into Output. It is for sessions that are
// not offloaded; for the others see the function CloseNotify.
func (s *Session) CloseNotify() error {
	if s.wire.mode == wireSealed {
		return errSealed
	}
	return s.tls.CloseWrite()
}

// State describes the connection; it is valid after the handshake.
func (s *Session) State() tls.ConnectionState { return s.tls.ConnectionState() }

// Close ends the session's goroutine, if the handshake has not ended. It sends
// nothing and closes no socket.
func (s *Session) Close() {
	if s.result == nil || s.done {
		return
	}
	close(s.wire.quit)
	<-s.result
	s.result = nil
}

// Offload hands the sending keys to the kernel: from here on, what is sent on
// k's TCP socket is plaintext to the kernel. All Output must have been sent
// there before. Where the kernel does not take it, the error says why,
// errors.Is(err, errors.ErrUnsupported) holds, and the session goes on in user
// space as if nothing had been tried.
func (s *Session) Offload(k Kernel) (*Meter, error) {
	if s.keys == nil {
		state := s.tls.ConnectionState()
		if state.DidResume {
			return nil, fmt.Errorf("ktls: a resumed session of %s is not handed to the kernel: %w", tls.VersionName(state.Version), errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("ktls: %s with %s is not handed to the kernel: %w", tls.VersionName(state.Version),
			tls.CipherSuiteName(state.CipherSuite), errors.ErrUnsupported)
	}
	if len(s.wire.out) > 0 || s.wire.written {
		return nil, fmt.Errorf("ktls: sealed records are waiting or were made since the handshake: %w", errors.ErrUnsupported)
	}
	if err := s.keys.handOver(k); err != nil {
		return nil, err
	}
	s.sealOff()
	m, err := newTLSMeter(k, s.own)
	if err != nil {
		return nil, err // nothing may be sent any more: not ErrUnsupported
	}
	return m, nil
}

// handOver gives the keys to the kernel.
func (k *txKeys) handOver(kernel Kernel) error {
	if err := kernel.SetULP(); err != nil {
		return &OffloadError{"TCP_ULP", err}
	}
	if err := kernel.SetTX(k.suite.info(k)); err != nil {
		return &OffloadError{"TLS_TX", err}
	}
	return nil
}

// sealOff keeps back all that crypto/tls makes from here on.
func (s *Session) sealOff() {
	s.wire.mode = wireSealed
	s.keys, s.own = nil, s.keys
}

// An OffloadError is the kernel's refusal to take a connection.
type OffloadError struct {
	Option string // the socket option that failed: TCP_ULP or TLS_TX
	Err    error  // an unix.Errno
}

func (e *OffloadError) Error() string {
	return fmt.Sprintf("ktls: %v", os.NewSyscallError("setsockopt "+e.Option, e.Err))
}

func (e *OffloadError) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *OffloadError) Unwrap() error { return e.Err }

// wireMode is what the session's net.Conn does when it is asked for I/O.
type wireMode uint8

const (
	wireHandshake wireMode = iota // Read waits for Handshake to be called again
	wireFed                       // Read answers "would block"
	wireSealed                    // the same, and what is written is kept back
)

// wire is the net.Conn under a session's tls.Conn: two buffers. While the
// handshake runs, its goroutine and the caller of Handshake take turns, handed
// over by the channels, so the buffers need no lock.
type wire struct {
	mode    wireMode
	in, out []byte
	flight  []byte // all that was written during the handshake
	written bool   // since the handshake
	sealed  []byte // written while sealed

	need chan struct{} // the handshake wants more input
	more chan struct{} // there is more input
	quit chan struct{} // closed by Session.Close
}

func (w *wire) Read(p []byte) (int, error) {
	for len(w.in) == 0 {
		if w.mode != wireHandshake {
			return 0, wouldBlock{}
		}
		select {
		case w.need <- struct{}{}:
		case <-w.quit:
			return 0, net.ErrClosed
		}
		select {
		case <-w.more:
		case <-w.quit:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	if len(w.in) == 0 {
		w.in = nil
	}
	return n, nil
}

func (w *wire) Write(p []byte) (int, error) {
	switch w.mode {
	case wireSealed:
		// An error would keep crypto/tls from going on to the client's next keys.
		w.sealed = append(w.sealed, p...)
		return len(p), nil
	case wireHandshake:
		w.flight = append(w.flight, p...)
	case wireFed:
		w.written = true
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

// Deadlines are the caller's: there is no I/O here to interrupt.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) Close() error                     { return nil }

// wouldBlock is the error on which crypto/tls stops and can go on later: a
// net.Error that is Temporary (crypto/tls, readRecordOrCCS).
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "ktls: would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var _ io.ReadWriter = (*Session)(nil)
