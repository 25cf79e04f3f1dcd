package server

import (
	"sync"

	"uringhttpd/service/flow"
)

const (
	// plainSize is the size of the buffers for plaintext: the first piece of a response.
	plainSize = headReserve + flow.Chunk
	// recordsSize is the size of the buffers for the records with that plaintext. A record has at
	// most 29 bytes beside its plaintext, and crypto/tls makes the first ones smaller than a segment.
	recordsSize = plainSize + 4<<10
)

// buffers keeps the buffers of TLS in user space from one use to the next: each chunk of a file would
// otherwise leave some 200 KiB to the garbage collector. It is safe for concurrent use.
type buffers struct {
	plain, records sync.Pool // of *[plainSize]byte and *[recordsSize]byte
}

func (b *buffers) getPlain() *[plainSize]byte {
	if p, ok := b.plain.Get().(*[plainSize]byte); ok {
		return p
	}
	return new([plainSize]byte)
}

func (b *buffers) putPlain(p *[plainSize]byte) { b.plain.Put(p) }

func (b *buffers) getRecords() []byte {
	if p, ok := b.records.Get().(*[recordsSize]byte); ok {
		return p[:0]
	}
	return make([]byte, 0, recordsSize)
}

// putRecords keeps a buffer of getRecords, and ignores any other.
func (b *buffers) putRecords(p []byte) {
	if cap(p) == recordsSize {
		b.records.Put((*[recordsSize]byte)(p[:recordsSize]))
	}
}

// takeRoom gives the next data that is read a buffer to be kept, if it will be encrypted in user
// space.
func (c *conn) takeRoom() {
	if t := &c.transfer; c.transport == user && t.room == nil && t.buf == nil && len(t.pieces) > 0 && t.pieces[0].file != nil {
		t.room = c.proc.buffers.getPlain()
	}
}

// encrypt encrypts plaintext of the transfer into TLS records. The plaintext is not used afterwards.
func (c *conn) encrypt(plain []byte) ([]byte, error) {
	c.session.Reserve(c.proc.buffers.getRecords())
	if _, err := c.session.Write(plain); err != nil {
		return nil, err
	}
	c.flow.CountRecords(len(plain))
	t := &c.transfer
	if t.room != nil {
		c.proc.buffers.putPlain(t.room)
		t.room = nil
	}
	t.records = c.session.Output()
	return t.records, nil
}

// recordsSent keeps the buffer of records that the socket has accepted.
func (c *conn) recordsSent() {
	c.proc.buffers.putRecords(c.transfer.records)
	c.transfer.records = nil
}
