//go:build linux

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

// errHandshake is the error of methods that need the handshake's end before it.
var errHandshake = errors.New("ktls: the handshake is not complete")

// A Server makes sessions that share a configuration and the keys of session
// tickets. Its methods may be called concurrently.
type Server struct {
	base     *tls.Config
	prefer12 Cipher

	mu      sync.Mutex
	keys    [][32]byte // newest first
	renewAt time.Time
}

const (
	ticketKeyAge = 24 * time.Hour
	ticketKeys   = 7 // tickets live seven days, as in crypto/tls
)

// NewServer returns a Server for cfg, whose members must not be changed afterwards.
//
// All of cfg keeps its meaning. Each connection uses a copy of cfg, or of the
// configuration that its GetConfigForClient returns, and the KeyLogWriter of either
// gets its lines. GetConfigForClient runs within Session.Handshake.
//
// Session tickets are sealed under keys of the Server, which it replaces daily, unless
// the caller has set some by SetSessionTicketKeys, which may be called at any time, or
// SessionTicketKey. A configuration that GetConfigForClient returns needs the caller's
// keys set on itself: crypto/tls does not tell which keys cfg has, so the Server's own
// are used otherwise.
func NewServer(cfg *tls.Config) *Server { return &Server{base: cfg} }

// Session starts one connection's session. Close must be called.
func (s *Server) Session() (*Session, error) {
	ss := &Session{wire: wire{need: make(chan struct{}), more: make(chan struct{}), quit: make(chan struct{})}}
	cfg := s.base.Clone()
	if !cfg.SessionTicketsDisabled {
		keys, err := s.ticketKeys(time.Now())
		if err != nil {
			return nil, err
		}
		cfg.SetSessionTicketKeys(keys)
	}
	// The keys just set hold only where the configuration that this returns has none
	// (tls.Config.GetConfigForClient).
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return s.configFor(hello, &ss.secrets)
	}
	ss.tls = tls.Server(&ss.wire, cfg)
	return ss, nil
}

// configFor is the configuration of one connection, with log as its KeyLogWriter.
func (s *Server) configFor(hello *tls.ClientHelloInfo, log *secretLog) (*tls.Config, error) {
	from := s.base
	if from.GetConfigForClient != nil {
		chosen, err := from.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		if chosen != nil {
			from = chosen
		}
	}
	cfg := from.Clone()
	log.next, cfg.KeyLogWriter = cfg.KeyLogWriter, log
	if suites := s.prefer12.limit(cfg, hello); len(suites) > 0 {
		cfg.CipherSuites = suites
	}
	return cfg, nil
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
	ended   bool       // the handshake is complete, or has failed, or Close was called
	done    bool       // the handshake is complete
	err     error      // of the handshake, once it has ended
	keys    *txKeys    // what Offload hands over; nil if it cannot
	own     *txKeys    // after Offload: what crypto/tls still seals with
	wants   []Message  // see Message
}

// Handshake takes what the client sent (nothing at first) and goes as far as it
// can. It reports whether the handshake is complete. Output must be sent after
// each call, also when the error is not nil: it may hold an alert. The work is
// that of the handshake's public-key operations, so call it where some
// milliseconds of computing do not matter.
//
// Once the handshake has ended, Handshake returns the same result again, and takes
// input as Feed does. After a Close before its end the error is net.ErrClosed.
func (s *Session) Handshake(input []byte) (done bool, err error) {
	if s.ended {
		if s.done {
			s.Feed(input)
		}
		return s.done, s.err
	}
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
	s.ended = true
	if err != nil {
		s.err = fmt.Errorf("ktls: handshake: %w", err)
		return false, s.err
	}
	s.done = true
	s.wire.mode = wireFed
	s.keys, s.err = s.sendingKeys()
	s.wire.flight, s.secrets = nil, secretLog{}
	return true, s.err
}

// sendingKeys are what the kernel needs to go on; nil where it cannot.
func (s *Session) sendingKeys() (*txKeys, error) {
	state, flight := s.State(), s.wire.flight
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
	state := s.State()
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
	if !s.done {
		return 0, s.notDone()
	}
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
	if !s.done {
		return 0, s.notDone()
	}
	if s.wire.mode == wireSealed {
		return 0, errSealed
	}
	return s.tls.Write(p)
}

// CloseNotify puts a close_notify alert into Output. It is for sessions that are
// not offloaded; for the others see the function CloseNotify.
func (s *Session) CloseNotify() error {
	if !s.done {
		return s.notDone()
	}
	if s.wire.mode == wireSealed {
		return errSealed
	}
	return s.tls.CloseWrite()
}

// notDone is the error of a method that needs a complete handshake. Without it
// crypto/tls would wait for the handshake, that is, for the caller.
func (s *Session) notDone() error {
	if s.err != nil {
		return s.err
	}
	return errHandshake
}

// State describes the connection. While the handshake goes on it is empty.
func (s *Session) State() tls.ConnectionState {
	if !s.ended {
		return tls.ConnectionState{} // the handshake's goroutine holds the lock
	}
	return s.tls.ConnectionState()
}

// Close ends the handshake, if it has not ended, and its goroutine. It sends
// nothing and closes no socket.
func (s *Session) Close() {
	if s.ended {
		return
	}
	s.ended, s.err = true, fmt.Errorf("ktls: handshake: %w", net.ErrClosed)
	if s.result != nil {
		close(s.wire.quit)
		<-s.result
	}
}

// Offload hands the sending keys to the kernel: from here on, what is sent on
// k's TCP socket is plaintext to the kernel. All Output must have been sent
// there before. Where the kernel does not take it, the error says why,
// errors.Is(err, errors.ErrUnsupported) holds, and the session goes on in user
// space as if nothing had been tried.
func (s *Session) Offload(k Kernel) (*Meter, error) {
	if !s.done {
		return nil, s.notDone()
	}
	if s.keys == nil {
		state := s.State()
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
func (w *wire) LocalAddr() net.Addr              { return noAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return noAddr{} }
func (w *wire) Close() error                     { return nil }

// noAddr is the address of a wire, for callbacks of tls.Config that look at
// ClientHelloInfo.Conn.
type noAddr struct{}

func (noAddr) Network() string { return "ktls" }
func (noAddr) String() string  { return "" }

// wouldBlock is the error on which crypto/tls stops and can go on later: a
// net.Error that is Temporary (crypto/tls, readRecordOrCCS).
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "ktls: would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var _ io.ReadWriter = (*Session)(nil)
