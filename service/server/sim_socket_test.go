package server

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/flow"
)

// simFile is the file of a simulated world. Its bytes depend on its version and
// on the offset, so that a mixture of versions is detected.
type simFile struct {
	version byte
	size    int64
}

func (f *simFile) at(off int64) byte { return byte(off)*3 ^ byte(off>>8) ^ f.version*0x55 }

// simOpen is the file, opened: the source of a response.
type simOpen struct {
	w       *world
	version byte // when it was opened
	size    int64
	refs    int
}

func (f *simOpen) Fd() int      { return -1 }
func (f *simOpen) Name() string { return "sim" }
func (f *simOpen) Acquire()     { f.refs++; f.w.refs++ }

func (f *simOpen) Release() {
	f.refs--
	f.w.refs--
	if f.refs == 0 {
		for _, fl := range f.w.flights {
			if s, ok := fl.op.file.(*simOpen); ok && s == f {
				f.w.fault("a file is closed under a read of it")
			}
		}
		f.w.closedUnderJob(f)
		if f.w.in == nil && !f.w.loop.storage.over {
			f.w.fault("a file is closed on the loop's thread, which waits for its file system")
		}
	}
}

// Deleted returns true because each version replaces the version before.
func (f *simOpen) Deleted() bool { return f.version != f.w.file.version }

func (f *simOpen) Check(wait bool) (decided bool, err error) {
	switch {
	case f.w.in == nil:
		f.w.fault("the loop's thread waits for the file system's attributes")
	case wait && f.w.in != f.w.loop.disk:
		f.w.fault("a look at a file waits for the disk where nothing may")
	case f.version != f.w.file.version:
		return true, errors.New("sim changed")
	case f.w.chance(20):
		return false, nil
	}
	if f.w.changing && f.w.chance(300) {
		f.w.change() // right after the look
	}
	return true, nil
}

func (f *simOpen) Local() bool { return true }

// simPage is a part of a send that the kernel holds: bytes of its own, or a part of the
// page cache, which changes with the file until it is copied.
type simPage struct {
	own  []byte
	file *simFile
	off  int64
	n    int
}

func ownPage(b []byte) simPage { return simPage{own: bytes.Clone(b), n: len(b)} }

func (p simPage) appendTo(b []byte) []byte {
	if p.file == nil {
		return append(b, p.own[:p.n]...)
	}
	b = slices.Grow(b, p.n)
	for i := range p.n {
		b = append(b, p.file.at(p.off+int64(i)))
	}
	return b
}

// cut removes the first n bytes of p, and returns them.
func (p *simPage) cut(n int) simPage {
	first := *p
	first.n = n
	if p.file == nil {
		first.own, p.own = p.own[:n], p.own[n:]
	}
	p.off += int64(n)
	p.n -= n
	return first
}

func total(pages []simPage) (n int) {
	for _, p := range pages {
		n += p.n
	}
	return n
}

// simTLS is the sending side of a socket that the kernel encrypts for.
type simTLS struct {
	driver simDriver
	aead   cipher.AEAD
	iv     [12]byte
	v12    bool   // TLS 1.2
	size   int    // of the cipher's struct
	fresh  bool   // nothing has been sent
	seq    uint64 // of the next record
	open   []simPage
	made   []simRecord // not, or not wholly, in TCP's queue
}

// simRecord is a record inside kernel TLS.
type simRecord struct {
	kind   byte // RFC 8446 content type
	seq    uint64
	plain  []simPage
	sealed []byte // nil while the engine has it
}

const maxPlain = 16 << 10 // bytes of a record

// simSocket is the server's end of a connection, and TCP between it and the
// client. It answers the calls of ktls, and those of a conn.
type simSocket struct {
	w      *world
	client *simClient
	meter  *ktls.Meter
	fd     int // -1: not accepted yet, or closed

	in     []byte // sent by the client, not received
	inFIN  bool
	came   int64      // bytes that were ever in in, and 1 for the FIN
	dead   unix.Errno // the connection is gone, for this reason
	queue  []simPage  // sent, not acknowledged
	room   int        // bytes that queue may hold
	acked  int64
	again  int64 // bytes that TCP has sent more than once, on this machine's account
	shut   bool  // SHUT_WR
	fin    bool  // FIN is in the queue, behind all bytes
	gotFIN bool  // the client has it
	linger bool  // close resets
	closed bool
	taken  bool // the loop has made a connection of it
	ulp    bool
	locked bool    // a system call waits for the engine
	cut    bool    // nothing more gets into queue
	kept   bool    // the service could not close it
	gone   int     // bytes that were in queue when the connection was reset
	tls    *simTLS // nil: not in the kernel
}

// ktls.Kernel.

func (s *simSocket) SetULP() error {
	switch {
	case s.dead != 0 || s.inFIN:
		return unix.ENOTCONN
	case !s.w.kernelTLS:
		return unix.ENOENT
	}
	s.ulp = true
	return nil
}

func (s *simSocket) SetTX(info []byte) error {
	const gcm128, gcm256 = 51, 52
	keyLen := map[uint16]int{gcm128: 16, gcm256: 32}[binary.NativeEndian.Uint16(info[2:])]
	switch {
	case s.w.loop.engine.dead:
		s.w.fault("keys are handed to an engine that was given up")
	case !s.ulp:
		return unix.ENOPROTOOPT
	case keyLen == 0 || len(info) != 4+8+keyLen+4+8:
		return unix.ENOENT
	case total(s.queue) == 0 && s.w.chance(10):
		return unix.ENOMEM
	}
	block, err := aes.NewCipher(info[12 : 12+keyLen])
	if err != nil {
		panic(err)
	}
	if s.w.chance(30) {
		s.w.swapDrivers()
	}
	s.w.useDriver()
	if !s.w.known() {
		s.client.excused("a driver comes while the keys are handed over")
	}
	t := &simTLS{driver: s.w.driver, fresh: true, size: len(info), seq: binary.BigEndian.Uint64(info[len(info)-8:]), v12: info[0] == 3}
	if t.aead, err = cipher.NewGCM(block); err != nil {
		panic(err)
	}
	copy(t.iv[:], info[12+keyLen:16+keyLen]) // salt
	copy(t.iv[4:], info[4:12])
	s.tls = t
	return nil
}

func (s *simSocket) TXSequence(infoSize int) (uint64, error) {
	s.touched()
	if s.tls == nil || infoSize != s.tls.size {
		s.w.fault("TLS_TX is read with %d bytes", infoSize)
		return 0, unix.EINVAL
	}
	seq := s.tls.seq
	s.slip()
	return seq, nil
}

// TCPInfo returns correct values of the counters that the meter may use. The others are
// misleading, as on a host that drops packets itself.
func (s *simSocket) TCPInfo() (*unix.TCPInfo, error) {
	s.touched()
	info := &unix.TCPInfo{State: 1, Bytes_acked: uint64(s.acked), Bytes_received: uint64(s.came)}
	if s.dead != 0 {
		info.State = unix.BPF_TCP_CLOSE
	}
	info.Bytes_sent = uint64(s.acked + int64(total(s.queue)) + s.again)
	info.Notsent_bytes = uint32(total(s.queue) / 2) // the rest is on its way
	s.slip()
	return info, nil
}

func (s *simSocket) OutQueue() (int, error) {
	n := total(s.queue) + s.gone
	if s.fin {
		n++
	}
	return n, nil
}

// slip makes an event happen between two system calls of a meter.
func (s *simSocket) slip() {
	if s.w.chance(100) {
		s.encrypt()
	}
	often := 100
	if s.tls != nil && s.tls.fresh { // the end of the handshake is being acknowledged
		often = 600
	}
	if s.w.chance(often) {
		s.deliver()
	}
}

// The socket interface.

func (s *simSocket) Offload(session *ktls.Session) error {
	m, err := session.Offload(s)
	if err == nil {
		s.meter = m
	}
	return err
}

func (s *simSocket) Sent(n int)                     { s.meter.Sent(n) }
func (s *simSocket) Reading() (ktls.Reading, error) { return s.meter.Read() }
func (s *simSocket) LimitUnsent(int)                {}
func (s *simSocket) Abort()                         { s.linger = true }
func (s *simSocket) Push()                          {}

func (s *simSocket) Pipe() (*pipe, error) {
	if s.w.chance(50) {
		return nil, unix.EMFILE
	}
	p := &pipe{r: -1, w: -1, size: flow.Chunk}
	s.w.pipes[p] = nil
	return p, nil
}

func (s *simSocket) ResizePipe(p *pipe, n int) error {
	held, ok := s.w.pipes[p]
	switch {
	case !ok || len(held) > 0:
		s.w.fault("a pipe is resized that is closed or not empty")
	case s.w.chance(100):
		return unix.EPERM
	}
	return nil
}

func (s *simSocket) ClosePipe(p *pipe) {
	if _, ok := s.w.pipes[p]; !ok {
		s.w.fault("a pipe is closed twice")
	}
	for _, f := range s.w.flights {
		if f.op.pipe == p {
			s.w.fault("a pipe is closed under a splice")
		}
	}
	delete(s.w.pipes, p)
}

func (s *simSocket) Received(p []byte) int {
	s.touched()
	s.client.w.received()
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n
}

func (s *simSocket) Shutdown() error {
	s.touched()
	if s.dead != 0 {
		return unix.ENOTCONN
	}
	s.shut, s.fin, s.linger = true, true, false
	s.drop()
	return nil
}

// drop discards the data inside kernel TLS, except for the records in the engine.
func (s *simSocket) drop() {
	if s.tls != nil {
		s.tls.open = nil
		s.tls.made = slices.DeleteFunc(s.tls.made, func(r simRecord) bool { return r.sealed != nil })
	}
}

// pendingBytes returns the number of bytes inside kernel TLS.
func (s *simSocket) pendingBytes() (n int) {
	if s.tls == nil {
		return 0
	}
	n = total(s.tls.open)
	for _, r := range s.tls.made {
		if r.sealed != nil {
			n += len(r.sealed) // not in TCP's queue yet
		} else {
			n += total(r.plain)
		}
	}
	return n
}

// sealing reports whether the engine has records. A record that waits for more bytes is
// not in the engine, and stays inside kernel TLS.
func (s *simSocket) sealing() bool { return s.tls != nil && len(s.tls.made) > 0 }

// full reports whether the socket returns EAGAIN. With an asynchronous cipher the
// data inside kernel TLS does not count.
func (s *simSocket) full() bool {
	return total(s.queue) >= s.room || s.tls != nil && !s.tls.driver.async && len(s.tls.made) > 0
}

// send accepts bytes of a send or splice.
func (s *simSocket) send(p simPage, more bool) {
	if s.tls == nil {
		s.queue = append(s.queue, p)
		return
	}
	for p.n > 0 {
		n := min(p.n, maxPlain-total(s.tls.open))
		s.tls.open = append(s.tls.open, p.cut(n))
		if total(s.tls.open) == maxPlain {
			s.record(ktlsApplicationData)
		}
	}
	if !more && len(s.tls.open) > 0 {
		s.record(ktlsApplicationData)
	}
}

const ktlsApplicationData = 23

// record closes the open record and passes it to the engine.
func (s *simSocket) record(kind byte) {
	t := s.tls
	t.fresh = false
	t.made = append(t.made, simRecord{kind: kind, seq: t.seq, plain: t.open})
	t.open = nil
	t.seq++
	if !t.driver.async {
		s.seal(&t.made[len(t.made)-1])
		s.toTCP()
	}
}

// message sends a record of another type than data.
func (s *simSocket) message(kind byte, payload []byte) {
	if len(s.tls.open) > 0 {
		s.record(ktlsApplicationData)
	}
	s.tls.open = []simPage{ownPage(payload)}
	s.record(kind)
}

// seal encrypts a record: RFC 8446 section 5.2, or RFC 5288 section 3. The
// pages of a file are read now, not when they were sent.
func (s *simSocket) seal(r *simRecord) {
	t := s.tls
	if t.driver.wrong {
		s.w.fault("a driver encrypts that has not passed a test")
	}
	if t.driver.name == "other" {
		s.w.otherRecords++
	}
	inner := make([]byte, 0, maxPlain+1)
	for _, p := range r.plain {
		inner = p.appendTo(inner)
	}
	nonce, seq := t.iv, binary.BigEndian.AppendUint64(nil, r.seq)
	if t.v12 {
		// Finished was record 0; the explicit part of the nonce counts on.
		copy(nonce[4:], seq)
		additional := append(bytes.Clone(seq), r.kind, 3, 3)
		additional = binary.BigEndian.AppendUint16(additional, uint16(len(inner)))
		r.sealed = []byte{r.kind, 3, 3, 0, 0}
		binary.BigEndian.PutUint16(r.sealed[3:], uint16(8+len(inner)+t.aead.Overhead()))
		r.sealed = t.aead.Seal(append(r.sealed, nonce[4:]...), nonce[:], inner, additional)
		return
	}
	inner = append(inner, r.kind)
	for i, b := range seq {
		nonce[4+i] ^= b
	}
	r.sealed = make([]byte, 5, 5+len(inner)+t.aead.Overhead())
	copy(r.sealed, []byte{ktlsApplicationData, 3, 3})
	binary.BigEndian.PutUint16(r.sealed[3:], uint16(len(inner)+t.aead.Overhead()))
	r.sealed = t.aead.Seal(r.sealed, nonce[:], inner, r.sealed[:5])
}

// encrypt makes the engine complete a record, not always the oldest.
func (s *simSocket) encrypt() {
	if s.tls == nil || len(s.tls.made) == 0 {
		return
	}
	var open []*simRecord
	for i := range s.tls.made {
		if r := &s.tls.made[i]; r.sealed == nil {
			open = append(open, r)
		}
	}
	if len(open) > 0 && !(s.tls.driver.async && s.w.engine.dead) {
		s.seal(open[s.w.choice(len(open))])
	}
	s.toTCP()
}

// toTCP moves sealed records into TCP's queue, in order, as far as there is room.
func (s *simSocket) toTCP() {
	t := s.tls
	if s.dead != 0 || s.cut {
		s.drop()
		return
	}
	for t != nil && len(t.made) > 0 && t.made[0].sealed != nil {
		r := &t.made[0]
		n := min(len(r.sealed), s.room-total(s.queue))
		if n <= 0 {
			return
		}
		s.queue = append(s.queue, ownPage(r.sealed[:n]))
		if r.sealed = r.sealed[n:]; len(r.sealed) > 0 {
			return
		}
		t.made = t.made[1:]
	}
}

// deliver passes bytes to the client, or the FIN after the last byte.
func (s *simSocket) deliver() {
	if s.dead != 0 || s.client.stuck {
		return
	}
	if len(s.queue) == 0 {
		if s.fin {
			s.fin, s.gotFIN = false, true
			s.client.received(nil)
		}
		return
	}
	if s.w.chance(20) {
		s.again += int64(s.w.choice(3000)) // dropped in a queue of this host
	}
	n := s.w.upTo(s.queue[0].n)
	p := s.queue[0].cut(n)
	if s.queue[0].n == 0 {
		s.queue = s.queue[1:]
	}
	s.acked += int64(n)
	s.client.received(p.appendTo(nil))
	s.toTCP()
}

// reset ends the connection at once, as RST does.
func (s *simSocket) reset(why unix.Errno) {
	if s.dead == 0 {
		s.dead = why
	}
	s.gone += total(s.queue)
	s.queue, s.fin, s.in = nil, false, nil
	s.drop()
}

// closeSocket is close(2): RST, if required; else TCP continues by itself.
func (s *simSocket) closeSocket() {
	s.fd, s.closed = -1, true
	if s.dead != 0 {
		return
	}
	if s.linger || len(s.in) > 0 || s.pendingBytes() > 0 {
		s.reset(unix.ECONNRESET)
		if !s.gotFIN {
			s.client.wasReset()
		}
		return
	}
	if !s.gotFIN {
		s.fin = true
	}
}
