package ktls

import (
	"net"
	"time"
)

// wireMode is the mode of I/O of the session's net.Conn.
type wireMode uint8

const (
	wireHandshake wireMode = iota // Read waits for the next call of Handshake
	wireBuffered                  // Read returns wouldBlock
	wireCapture                   // Read returns wouldBlock, and Write holds its data back
)

// wire is the net.Conn under a session's tls.Conn: two buffers. While the handshake
// runs, its goroutine and the caller of Handshake alternate, synchronized by the
// channels, so the buffers need no lock.
type wire struct {
	mode     wireMode
	in, out  []byte
	flight   []byte // all bytes written during the handshake
	written  bool   // bytes were written after the handshake, before Offload
	captured []byte // bytes written after Offload

	need chan struct{} // the handshake needs more input
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
	case wireCapture:
		// An error would keep crypto/tls from switching to the client's next keys.
		w.captured = append(w.captured, p...)
		return len(p), nil
	case wireHandshake:
		w.flight = append(w.flight, p...)
	case wireBuffered:
		w.written = true
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

// The caller enforces deadlines: there is no I/O here to interrupt.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) LocalAddr() net.Addr              { return noAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return noAddr{} }
func (w *wire) Close() error                     { return nil }

// noAddr is the address of a wire, for callbacks of tls.Config that use
// ClientHelloInfo.Conn.
type noAddr struct{}

func (noAddr) Network() string { return "ktls" }
func (noAddr) String() string  { return "" }

// wouldBlock is an error after which crypto/tls can continue later: a net.Error that
// is Temporary (crypto/tls, readRecordOrCCS).
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "ktls: would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }
