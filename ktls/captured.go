//go:build linux

package ktls

import (
	"errors"
)

// errOffloaded is the error of a write after Offload, and of a record that crypto/tls must
// not make once the kernel has the sending keys.
var errOffloaded = errors.New("ktls: the kernel has the sending keys")

// Message returns the next message that must be sent to the client because of the last
// Read, in order; ok is false if there is none. It is for offloaded sessions, whose
// Output is empty. A message is an alert, if the client violated the protocol, or a
// KeyUpdate, if the client requested it. The KeyUpdate must be sent before any further
// application data, and all later records under the next keys. On a kernel that cannot
// change the keys (before Linux 6.14, net/tls/tls_main.c) the caller must send no more
// data, and close.
func (s *Session) Message() (m Message, ok bool) {
	if len(s.messages) == 0 {
		return Message{}, false
	}
	m, s.messages = s.messages[0], s.messages[1:]
	return m, true
}

// openCaptured opens the records that crypto/tls made on its own after Offload. Their
// sequence numbers continue from those before Offload, which the kernel uses too, so
// these records must never leave this program.
func (s *Session) openCaptured() error {
	stream := s.wire.captured
	s.wire.captured = nil
	for len(stream) > 0 {
		var record []byte
		if record, stream = cutRecord(stream); record == nil {
			return errOffloaded
		}
		m, ok := s.own.message(s.own.seq, record)
		if !ok || !m.IsAlert() && !m.IsKeyUpdate() {
			return errOffloaded
		}
		s.own.seq++
		if m.IsKeyUpdate() {
			var err error
			if s.own, err = s.own.next(); err != nil {
				return err
			}
		}
		s.messages = append(s.messages, m)
	}
	return nil
}

// captureOwn holds back all records that crypto/tls makes from here on.
func (s *Session) captureOwn() {
	s.wire.mode = wireCapture
	s.keys, s.own = nil, s.keys
}
