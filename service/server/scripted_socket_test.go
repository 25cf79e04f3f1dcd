package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// scriptedSocket is a socket whose readings and errors the test sets.
type scriptedSocket struct {
	reading  ktls.Reading
	shutdown bool
	aborted  bool
	err      error  // of Err
	input    string // of the client
	unsent   int    // of LimitUnsent
	pushes   int
}

func (s *scriptedSocket) Offload(*ktls.Session) error { return errors.ErrUnsupported }

func (s *scriptedSocket) Sent(int) {}

func (s *scriptedSocket) Reading() (ktls.Reading, error) { return s.reading, nil }

func (s *scriptedSocket) Pipe() (*pipe, error) { return nil, unix.EMFILE }

func (s *scriptedSocket) LimitUnsent(n int) { s.unsent = n }

func (s *scriptedSocket) ResizePipe(*pipe, int) error { return unix.EPERM }

func (s *scriptedSocket) ClosePipe(*pipe) {}

func (s *scriptedSocket) Received(p []byte) int { return copy(p, s.input) }

func (s *scriptedSocket) Abort() { s.aborted = true }

func (s *scriptedSocket) Err() error { return s.err }

func (s *scriptedSocket) Empty() bool { return true }

func (s *scriptedSocket) HangUp() {}

func (s *scriptedSocket) Push() { s.pushes++ }

func (s *scriptedSocket) Shutdown() error {
	s.shutdown = true
	return nil
}
