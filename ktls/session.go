//go:build linux

package ktls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// ErrWouldBlock is the error of Session.Read when it needs more bytes from the client:
// call Feed and read again.
var ErrWouldBlock = errors.New("ktls: more input is needed")

// errHandshake is the error of methods that need a complete handshake.
var errHandshake = errors.New("ktls: the handshake is not complete")

// A Session is the server side of a TLS connection. It does no I/O. Its methods must
// not be called concurrently.
type Session struct {
	wire     wire
	tls      *tls.Conn
	secrets  secretLog
	result   chan error // result of the handshake's goroutine; nil before it starts
	ended    bool       // the handshake is complete, or has failed, or Close was called
	done     bool       // the handshake is complete
	err      error      // error of the handshake, once it has ended
	keys     *txKeys    // keys for Offload; nil if the connection cannot be offloaded
	own      *txKeys    // after Offload: the keys with which crypto/tls still seals
	messages []Message  // see Message
}

// Handshake processes bytes received from the client (none at first) as far as possible.
// It reports whether the handshake is complete. Output must be sent after each call,
// even if the error is not nil, since it may contain an alert. Handshake performs the
// handshake's public-key operations, so call it where some milliseconds of computing
// do not matter.
//
// After the end of the handshake, Handshake returns the same result again, and passes
// input to Feed if the handshake is complete. After a Close before that end, the error
// wraps net.ErrClosed.
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
	s.wire.mode = wireBuffered
	s.keys, s.err = s.sendingKeys()
	s.wire.flight, s.secrets = nil, secretLog{}
	return true, s.err
}

// sendingKeys returns the keys for Offload; nil if the connection cannot be offloaded.
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

// Suite returns the cipher suite of TLS 1.3 with the connection's AEAD and hash, also
// for a connection of TLS 1.2. It returns 0 if Offload does not support the cipher.
func (s *Session) Suite() uint16 {
	state := s.State()
	find := SuiteOf
	if state.Version == tls.VersionTLS12 {
		find = suiteOf12
	}
	suite, _ := find(state.CipherSuite)
	return suite.ID
}

// Reserve gives Output memory: the next bytes are appended to b[:0], unless Output has bytes already.
func (s *Session) Reserve(b []byte) {
	if s.wire.out == nil {
		s.wire.out = b[:0]
	}
}

// Output returns the bytes that must be sent to the client, each byte once.
func (s *Session) Output() []byte {
	out := s.wire.out
	s.wire.out = nil
	return out
}

// Feed adds bytes received from the client. It copies them.
func (s *Session) Feed(ciphertext []byte) { s.wire.in = append(s.wire.in, ciphertext...) }

// Read returns decrypted data of the client, ErrWouldBlock if Feed must come first,
// and io.EOF after the client's close_notify. Any other error ends the connection.
// After Offload, call Message too after each Read, with or without an error.
func (s *Session) Read(p []byte) (int, error) {
	if !s.done {
		return 0, s.notDone()
	}
	n, err := s.tls.Read(p)
	if len(s.wire.captured) > 0 {
		if err := s.openCaptured(); err != nil {
			return 0, err
		}
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return n, ErrWouldBlock
	}
	return n, err
}

// Write seals p in user space and adds the records to Output. It is for sessions that
// are not offloaded.
func (s *Session) Write(p []byte) (int, error) {
	if !s.done {
		return 0, s.notDone()
	}
	if s.wire.mode == wireCapture {
		return 0, errOffloaded
	}
	return s.tls.Write(p)
}

// CloseNotify adds a close_notify alert to Output. It is for sessions that are not
// offloaded; for offloaded sessions see the function CloseNotify.
func (s *Session) CloseNotify() error {
	if !s.done {
		return s.notDone()
	}
	if s.wire.mode == wireCapture {
		return errOffloaded
	}
	return s.tls.CloseWrite()
}

// notDone returns the error of a method that needs a complete handshake. Without this
// check, crypto/tls would wait for the handshake, and so for the caller itself.
func (s *Session) notDone() error {
	if s.err != nil {
		return s.err
	}
	return errHandshake
}

// State returns the state of the connection. It is empty until the handshake has ended.
func (s *Session) State() tls.ConnectionState {
	if !s.ended {
		return tls.ConnectionState{} // the handshake's goroutine holds the lock
	}
	return s.tls.ConnectionState()
}

// Close aborts the handshake if it has not ended, and waits for its goroutine. It sends
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

// Offload installs the sending keys in the kernel: from here on, the program sends
// plaintext on k's TCP socket. All Output must have been sent there before. If the
// connection cannot be offloaded, the error says why,
// errors.Is(err, errors.ErrUnsupported) holds, and the session continues in user space
// unchanged. If Offload fails after the keys were installed, ErrUnsupported does not
// hold, and nothing may be sent any more.
func (s *Session) Offload(k Kernel) (*Meter, error) {
	if !s.done {
		return nil, s.notDone()
	}
	if s.keys == nil {
		state := s.State()
		if state.DidResume {
			return nil, fmt.Errorf("ktls: a resumed session of %s cannot be offloaded: %w", tls.VersionName(state.Version), errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("ktls: %s with %s cannot be offloaded: %w", tls.VersionName(state.Version),
			tls.CipherSuiteName(state.CipherSuite), errors.ErrUnsupported)
	}
	if len(s.wire.out) > 0 || s.wire.written {
		return nil, fmt.Errorf("ktls: records were sealed in user space after the handshake, or wait in Output: %w", errors.ErrUnsupported)
	}
	if err := s.keys.install(k); err != nil {
		return nil, err
	}
	s.captureOwn()
	m, err := newTLSMeter(k, s.own)
	if err != nil {
		return nil, err // not ErrUnsupported, since nothing may be sent any more
	}
	return m, nil
}

// install installs the keys in the kernel. Its error is an *OffloadError.
func (k *txKeys) install(kernel Kernel) error {
	if err := kernel.SetULP(); err != nil {
		return &OffloadError{OptionULP, err}
	}
	if err := kernel.SetTX(k.info()); err != nil {
		return &OffloadError{OptionTX, err}
	}
	return nil
}

// An OffloadError is the kernel's refusal to offload a connection.
// errors.Is(err, errors.ErrUnsupported) holds.
type OffloadError struct {
	Option string // socket option that failed: OptionULP or OptionTX
	Err    error  // a unix.Errno
}

// Socket options that an OffloadError names.
const (
	OptionULP = "TCP_ULP" // the upper layer protocol: the tls module
	OptionTX  = "TLS_TX"  // the key: the cipher
)

func (e *OffloadError) Error() string {
	return fmt.Sprintf("ktls: %v", os.NewSyscallError("setsockopt "+e.Option, e.Err))
}

func (e *OffloadError) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *OffloadError) Unwrap() error { return e.Err }

var _ io.ReadWriter = (*Session)(nil)
