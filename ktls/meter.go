//go:build linux

package ktls

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Meter measures the data sent on a socket that has not left the machine yet. It
// works on a socket whose sending side is in the kernel, and on a plain socket,
// where Pending is always 0. It does not own the socket. The socket must be a TCP
// socket, not an MPTCP socket, which net.Listen allows clients to choose: see
// net.ListenConfig.SetMultipathTCP.
//
// The kernel has no call that returns the records that wait inside kernel TLS, but
// their size follows exactly: TCP finally receives the plaintext accepted by the
// kernel plus an overhead for each record made; so far it has received the
// bytes acknowledged plus the bytes in its queue.
type Meter struct {
	kernel   Kernel
	infoSize int    // bytes of the argument of TLS_TX; 0 on a plain socket
	overhead int64  // bytes that a record adds to its plaintext
	accepted int64  // plaintext bytes that the kernel accepted
	tcpBase  int64  // bytes that TCP had received before the meter started
	tcpMost  int64  // most bytes that TCP was seen to have received
	seqBase  uint64 // record sequence number when the meter started
}

// A Reading is the state of a socket's sending side. All values are bytes.
type Reading struct {
	Pending int64 // in kernel TLS: not encrypted, or waiting for room; never understated
	Unacked int64 // in TCP's queue: not sent, or sent and not acknowledged
	Unsent  int64 // the part of Unacked that was not sent yet
	Acked   int64 // acknowledged by the client since the meter started, as TCP counts
	// Received counts the bytes that TCP has received in order since the connection began,
	// whether the program has read them or not; a FIN counts as one byte.
	Received int64
}

// NewMeter returns a Meter for a plain TCP socket. No send on it may be in flight.
func NewMeter(k Kernel) (*Meter, error) {
	m := &Meter{kernel: k}
	// Bytes acknowledged between the two system calls of tcp are missing from its
	// sum. In a Reading this overstates Pending; in the base it would understate
	// Pending for good. Nothing is being sent now, so the sum is right if Acked is
	// the same before and after it.
	now, err := m.tcp()
	for err == nil {
		var after Reading
		if after, err = m.tcp(); after.Acked == now.Acked {
			break
		}
		now, err = m.tcp()
	}
	m.tcpBase = now.Acked + now.Unacked
	m.tcpMost = m.tcpBase
	return m, err
}

func newTLSMeter(kernel Kernel, k *txKeys) (*Meter, error) {
	m, err := NewMeter(kernel)
	if err != nil {
		return nil, err
	}
	m.infoSize, m.overhead = k.suite.infoSize(), k.overhead()
	m.seqBase, err = kernel.TXSequence(m.infoSize)
	return m, err
}

// Sent adds n bytes of plaintext that the kernel accepted: the positive result of a
// send, sendmsg (an alert's payload counts) or splice.
func (m *Meter) Sent(n int) { m.accepted += int64(n) }

// Read returns the state of the socket. No send or splice on the socket may be in
// flight. The error wraps ECONNRESET if the connection is gone; the Reading is valid
// then too, and its Pending bytes will never leave.
func (m *Meter) Read() (Reading, error) {
	// Invariant: the order of these calls. A record made, or bytes acknowledged,
	// between two of them can only make Pending too large.
	overhead := int64(0)
	if m.infoSize > 0 {
		seq, err := m.kernel.TXSequence(m.infoSize)
		if err != nil {
			return Reading{}, err
		}
		overhead = int64(seq-m.seqBase) * m.overhead
	}
	r, err := m.tcp()
	// TCP cannot give back bytes, so a smaller sum than before lacks acknowledged ones.
	// Pending is therefore at most its last value plus the bytes sent since.
	m.tcpMost = max(m.tcpMost, r.Acked+r.Unacked)
	r.Pending = m.accepted + overhead - (m.tcpMost - m.tcpBase)
	return r, err
}

// tcp returns the values that TCP reports: all but Pending.
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

// controlMessage returns the control data that sets the content type of a record.
func controlMessage(contentType byte) []byte {
	b := make([]byte, unix.CmsgSpace(1))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.SOL_TLS, tlsSetRecordType
	h.SetLen(unix.CmsgLen(1))
	b[unix.CmsgLen(0)] = contentType
	return b
}
