package flow

import (
	"time"

	"uringhttpd/ktls"
)

const (
	// Chunk is the number of bytes that are read, encrypted or spliced at a time.
	Chunk = 64 << 10
	// MaxRecord is the maximum of plaintext bytes in a TLS record (RFC 8446 section 5.1).
	MaxRecord = 16 << 10
	// MaxPending is the limit for a connection's bytes inside kernel TLS. With an asynchronous
	// cipher no other limit applies there: poll(2) covers TCP's buffer only, and records that wait
	// for the engine are not in it yet.
	MaxPending = 192 << 10
	// MinLimit is the minimum of New's limit: the limit inside kernel TLS, and a chunk in the pipe.
	MinLimit = MaxPending + Chunk
	// MaxRecords is the number of TLS records made with a key after which the connection ends, once
	// the current response is complete: AES-GCM is safe for 2^24.5 records (RFC 8446 section 5.5),
	// and the difference is left for that response, some 100 GiB.
	MaxRecords = 1 << 24

	// recordOverhead is an upper bound of the bytes that a TLS record adds to its plaintext:
	// 22 bytes in TLS 1.3, 29 in TLS 1.2.
	recordOverhead = 32
	// overheadReserve is kept free for the record overhead of the bytes pushed at a time.
	overheadReserve = 8 << 10
	// minPush is the smallest part of the next bytes that is worth a system call.
	minPush = MaxRecord / 2
)

// A Control is the budget of one connection: the bytes that may be passed to the kernel before the
// next reading of the meter. New creates it. It is not safe for concurrent use.
type Control struct {
	limit int64 // bytes that the kernel may hold
	tls   bool  // the kernel encrypts

	total  int64 // bytes that the kernel may hold in addition
	inTLS  int64 // of these, bytes that may go into kernel TLS
	window window

	acked      int64 // bytes that the client has acknowledged
	allAcked   bool  // everything was acknowledged at the last reading
	pendingMax int64
	openRecord int   // plaintext in the TLS record left open by MSG_MORE; an estimate, since short sends may end it
	records    int64 // upper bound of the TLS records made with the connection's keys
}

// New returns the Control of a new connection, for which the kernel may hold limit bytes. share is
// the connection's share, in bytes, of the memory for all connections. The kernel holds nothing yet.
func New(limit, share int64) Control {
	c := Control{limit: limit}
	c.window.update(0, time.Time{}, share)
	c.total = c.window.size
	return c
}

// StartTLS tells that the kernel encrypts from now on.
func (c *Control) StartTLS() { c.tls = true }

// Update derives the budget from a reading of the meter while held bytes are in the pipe. share is
// the connection's share now; see New. Update reports whether the client has acknowledged bytes
// since the last reading.
func (c *Control) Update(r ktls.Reading, held int, share int64, now time.Time) (progress bool) {
	c.window.update(r.Acked-c.acked, now, share)
	progress = c.Acknowledge(r)
	c.pendingMax = max(c.pendingMax, r.Pending)
	c.allAcked = r.Unacked == 0
	c.total = min(c.limit-overheadReserve-r.Unacked, c.window.size-r.Unsent) - r.Pending - int64(held)
	c.inTLS = MaxPending - overheadReserve - r.Pending
	return progress
}

// Acknowledge notes the bytes that the client has acknowledged, and leaves the budget as it is. It
// reports whether there are more than at the last reading.
func (c *Control) Acknowledge(r ktls.Reading) (progress bool) {
	progress = r.Acked > c.acked
	c.acked = max(c.acked, r.Acked)
	return progress
}

// Admit returns how many of n bytes may go into the kernel: all, a worthwhile part, or none yet. A
// smaller part would cost more than it gains.
//
// In kernel TLS such a part ends with a record, because the kernel charges an open record
// twice: for the plaintext, and for the ciphertext to come.
//
// Invariant: if the kernel holds nothing but an open record, which leaves only when more
// bytes follow, some bytes are admitted: minWindow - MaxRecord is minPush.
func (c *Control) Admit(n int64) int64 {
	toEnd := int64(MaxRecord - c.openRecord)
	switch {
	case c.total >= n:
		return n
	case c.tls && c.total >= toEnd:
		return toEnd + (c.total-toEnd)/MaxRecord*MaxRecord
	case c.total >= minPush && (!c.tls || c.allAcked):
		return c.total
	}
	return 0
}

// AdmitPush returns how many of n bytes, which Admit has admitted, may go into the socket: all, a
// worthwhile part, or none yet. Only kernel TLS sets a limit of its own.
func (c *Control) AdmitPush(n int64) int64 {
	switch {
	case !c.tls:
		return n
	case c.inTLS < min(n, Chunk):
		return 0
	}
	return min(n, c.inTLS)
}

// TLSFull reports whether kernel TLS must become emptier before a chunk is admitted. poll(2) does
// not report when it does.
func (c *Control) TLSFull() bool { return c.tls && c.inTLS < Chunk }

// Charge subtracts n bytes that went into the kernel: into the pipe, or from memory into the socket.
func (c *Control) Charge(n int) { c.total -= c.wireSize(n) }

// ChargePush subtracts n bytes that the socket has accepted, and in kernel TLS counts their
// records. If more is true, the last record stays open for further bytes.
func (c *Control) ChargePush(n int, more bool) {
	if !c.tls {
		return
	}
	c.inTLS -= c.wireSize(n)
	c.CountRecords(n)
	if c.openRecord = (c.openRecord + n) % MaxRecord; !more {
		c.openRecord = 0
	}
}

// wireSize returns an upper bound of the size of n bytes in the kernel.
func (c *Control) wireSize(n int) int64 {
	if !c.tls {
		return int64(n)
	}
	return int64(n) + int64(n/MaxRecord+2)*recordOverhead
}

// CountRecords counts the records of n bytes that are encrypted at a time. Bytes that fill an open
// record count as a separate record.
func (c *Control) CountRecords(n int) { c.records += int64((n + MaxRecord - 1) / MaxRecord) }

// KeysExhausted reports whether MaxRecords is reached.
func (c *Control) KeysExhausted() bool { return c.records >= MaxRecords }

// PendingMax returns the most bytes inside kernel TLS at any reading.
func (c *Control) PendingMax() int64 { return c.pendingMax }

// Unsent returns the value for TCP_NOTSENT_LOWAT, in bytes: the unsent bytes that TCP may accept
// before poll(2) stops reporting room. 0: no limit.
func (c *Control) Unsent() int { return c.window.unsent() }
