//go:build linux

package ktls

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Meter tells how much of what was given to a socket has not left yet. It
// works on a socket whose sending side is in the kernel, and on a plain one,
// where nothing is ever Pending. It does not own the socket. The socket must be of
// TCP, not of MPTCP, which net.Listen allows clients to choose: see
// net.ListenConfig.SetMultipathTCP.
//
// The kernel has no call that says how many records wait inside kernel TLS, but
// it follows exactly: the plaintext given, and one overhead for each record
// made, is what TCP gets in the end; what TCP got so far is the bytes
// acknowledged plus those in its queue.
type Meter struct {
	kernel   Kernel
	infoSize int    // of the argument of TLS_TX; 0 on a plain socket
	overhead int64  // what a record adds to its plaintext
	given    int64  // plaintext bytes that the kernel accepted
	tcpBase  int64  // what TCP had been given before the meter started
	seqBase  uint64 // record sequence number when the meter started
}

// A Reading is the state of a socket's sending side. All are bytes.
type Reading struct {
	Pending int64 // in kernel TLS: not encrypted, or waiting for room; never understated
	Unacked int64 // in TCP's queue: not sent, or sent and not acknowledged
	Unsent  int64 // of them, those that were not sent yet
	Acked   int64 // acknowledged by the client since the meter started, as TCP counts
	// Received is what TCP has received of the client in order since the connection began,
	// read by the program or not; a FIN counts as one.
	Received int64
}

// NewMeter returns a Meter for a plain TCP socket.
func NewMeter(k Kernel) (*Meter, error) {
	m := &Meter{kernel: k}
	// Bytes acknowledged between the two calls of tcp are missing from its sum.
	// In a Reading that overstates Pending; in the base it would understate it
	// for good. Nothing is being sent now, so the sum is right once acked has
	// stood still around it.
	now, err := m.tcp()
	for err == nil {
		var after Reading
		if after, err = m.tcp(); after.Acked == now.Acked {
			break
		}
		now, err = m.tcp()
	}
	m.tcpBase = now.Acked + now.Unacked
	return m, err
}

func newTLSMeter(kernel Kernel, k *txKeys) (*Meter, error) {
	m, err := NewMeter(kernel)
	if err != nil {
		return nil, err
	}
	m.infoSize, m.overhead = len(k.suite.info(k)), k.suite.overhead
	m.seqBase, err = kernel.TXSequence(m.infoSize)
	return m, err
}

// Sent tells the meter that the kernel accepted n bytes: the positive result of
// a send, sendmsg (an alert's payload counts) or splice.
func (m *Meter) Sent(n int) { m.given += int64(n) }

// Read takes a reading. No send or splice on the socket may be in flight. The
// error is ECONNRESET when the connection is gone; the reading is valid then too,
// and Pending is what will never leave.
func (m *Meter) Read() (Reading, error) {
	// In this order: a record that is made, or bytes that are acknowledged,
	// between two of these calls can only make Pending too large.
	overhead := int64(0)
	if m.infoSize > 0 {
		seq, err := m.kernel.TXSequence(m.infoSize)
		if err != nil {
			return Reading{}, err
		}
		overhead = int64(seq-m.seqBase) * m.overhead
	}
	r, err := m.tcp()
	r.Pending = m.given + overhead - (r.Acked + r.Unacked - m.tcpBase)
	return r, err
}

// tcp returns what TCP tells, that is, all but Pending.
func (m *Meter) tcp() (Reading, error) {
	info, err := m.kernel.TCPInfo()
	if err != nil {
		return Reading{}, err
	}
	queued, err := m.kernel.OutQueue()
	if err == nil && info.State == unix.BPF_TCP_CLOSE {
		err = fmt.Errorf("ktls: %w", unix.ECONNRESET)
	}
	return Reading{
		Unacked:  int64(queued),
		Unsent:   int64(info.Notsent_bytes),
		Acked:    int64(info.Bytes_acked),
		Received: int64(info.Bytes_received),
	}, err
}

// controlMessage makes the control data that gives a record its content type.
func controlMessage(contentType byte) []byte {
	b := make([]byte, unix.CmsgSpace(1))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.SOL_TLS, tlsSetRecordType
	h.SetLen(unix.CmsgLen(1))
	b[unix.CmsgLen(0)] = contentType
	return b
}
