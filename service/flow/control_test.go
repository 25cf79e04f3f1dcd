package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"uringhttpd/ktls"
)

const ample = 1 << 40 // a share that limits nothing

func TestAdmit(t *testing.T) {
	for _, tt := range []struct {
		name     string
		tls      bool
		total    int64
		open     int
		allAcked bool
		n, want  int64
	}{
		{"all", false, 1000, 0, false, 1000, 1000},
		{"all in kernel TLS", true, 1000, 0, false, 1000, 1000},
		{"a worthwhile part", false, minPush, 0, false, minPush + 1, minPush},
		{"a part that is too small", false, minPush - 1, 0, true, minPush, 0},
		{"whole records", true, 2*MaxRecord + 100, 0, false, 3 * MaxRecord, 2 * MaxRecord},
		{"up to the end of the open record", true, MaxRecord - 1, 100, false, MaxRecord, MaxRecord - 100},
		{"the open record and more", true, 2 * MaxRecord, 100, false, 1 << 20, 2*MaxRecord - 100},
		{"no whole record", true, MaxRecord - 1, 0, false, MaxRecord, 0},
		{"no whole record, and nothing else in the kernel", true, MaxRecord - 1, 0, true, MaxRecord, MaxRecord - 1},
		{"nothing", false, 0, 0, true, 1, 0},
		{"an exceeded budget", true, -1, 0, true, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Control{tls: tt.tls, total: tt.total, openRecord: tt.open, allAcked: tt.allAcked}
			if got := c.Admit(tt.n); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestAdmitPush(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tls     bool
		inTLS   int64
		n, want int64
		full    bool
	}{
		{"no kernel TLS", false, -5, 1 << 20, 1 << 20, false},
		{"all", true, Chunk, Chunk, Chunk, false},
		{"less than a chunk", true, 1000, 1000, 1000, true},
		{"more than there is room for", true, Chunk + 1000, Chunk + 2000, Chunk + 1000, false},
		{"a part below a chunk is not worth it", true, Chunk - 1, Chunk, 0, true},
		{"none", true, 0, 1, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Control{tls: tt.tls, inTLS: tt.inTLS}
			if got, full := c.AdmitPush(tt.n), c.TLSFull(); got != tt.want || full != tt.full {
				t.Errorf("got %d, full %v; want %d, %v", got, full, tt.want, tt.full)
			}
		})
	}
}

// TestUpdate: each reading replaces the budget, and the smaller of the limit and the window bounds it.
func TestUpdate(t *testing.T) {
	const limit = 2 << 20
	c := New(limit, ample)
	if c.total != ampleWindow {
		t.Errorf("the initial budget is %d", c.total)
	}
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name     string
		reading  ktls.Reading
		held     int
		total    int64
		progress bool
	}{
		{"an idle kernel", ktls.Reading{}, 0, ampleWindow, false},
		{"bytes in the pipe", ktls.Reading{}, 1000, ampleWindow - 1000, false},
		{"bytes in kernel TLS", ktls.Reading{Pending: 3000}, 0, ampleWindow - 3000, false},
		{"unsent bytes", ktls.Reading{Unacked: 2000, Unsent: 2000}, 0, ampleWindow - 2000, false},
		{"sent bytes do not use the window", ktls.Reading{Unacked: 2000}, 0, ampleWindow, false},
		{"but the limit", ktls.Reading{Unacked: limit - 10000, Pending: 100}, 0, 10000 - overheadReserve - 100, false},
		{"acknowledged bytes", ktls.Reading{Acked: 5000}, 0, ampleWindow + 5000, true},
		{"no more of them", ktls.Reading{Acked: 5000}, 0, ampleWindow + 5000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			progress := c.Update(tt.reading, tt.held, ample, now)
			if c.total != tt.total || progress != tt.progress {
				t.Errorf("budget %d, progress %v; want %d, %v", c.total, progress, tt.total, tt.progress)
			}
			if want := MaxPending - overheadReserve - tt.reading.Pending; c.inTLS != want {
				t.Errorf("budget in kernel TLS %d, want %d", c.inTLS, want)
			}
		})
	}
	if c.PendingMax() != 3000 {
		t.Errorf("PendingMax %d, want 3000", c.PendingMax())
	}
}

// TestUpdateFollowsShare: the share of the last reading counts, not the share at the start.
func TestUpdateFollowsShare(t *testing.T) {
	c := New(2<<20, ample)
	if c.Update(ktls.Reading{}, 0, 0, time.Unix(0, 0)); c.total != minWindow || c.Unsent() != MinUnsent {
		t.Errorf("with a share of nothing: budget %d, TCP_NOTSENT_LOWAT %d", c.total, c.Unsent())
	}
}

// TestCountRecords: MaxRecords records exhaust the keys, in whatever portions they are made.
func TestCountRecords(t *testing.T) {
	c := New(MinLimit, 0)
	c.StartTLS()
	for _, n := range []int{1, MaxRecord, MaxRecord + 1} {
		c.ChargePush(n, false)
	}
	if c.records != 4 {
		t.Fatalf("%d records, want 4", c.records)
	}
	c.records = MaxRecords - 1
	if c.KeysExhausted() {
		t.Error("the keys are exhausted too early")
	}
	if c.CountRecords(1); !c.KeysExhausted() {
		t.Error("the keys are not exhausted after MaxRecords")
	}
}

// A model is the kernel's side of a connection.
type model struct {
	tls      bool
	held     int     // bytes in the pipe
	open     int     // plaintext of the open record
	records  []int64 // sizes of the records that wait for encryption
	unsent   int64   // in TCP's queue
	inFlight int64   // sent, and not acknowledged
	acked    int64
}

func (m *model) pending() int64 {
	n := int64(m.open)
	for _, r := range m.records {
		n += r
	}
	return n
}

func (m *model) holds() int64 { return int64(m.held) + m.pending() + m.unsent + m.inFlight }

func (m *model) reading() ktls.Reading {
	return ktls.Reading{Pending: m.pending(), Unacked: m.unsent + m.inFlight, Unsent: m.unsent, Acked: m.acked}
}

// push passes n bytes to the socket. If ends is true, the last record ends with them.
func (m *model) push(n int, ends bool) {
	if !m.tls {
		m.unsent += int64(n)
		return
	}
	for m.open += n; m.open >= MaxRecord; m.open -= MaxRecord {
		m.records = append(m.records, MaxRecord+22)
	}
	if ends && m.open > 0 {
		m.records = append(m.records, int64(m.open+22))
		m.open = 0
	}
}

// FuzzControl uses a Control as a connection does, on a model of the kernel, by a script of bytes.
// At any time the kernel holds no more than the limit, and no more than MaxPending inside kernel
// TLS. When everything has left but an open record, some bytes are admitted.
func FuzzControl(f *testing.F) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		script := make([]byte, 20_000)
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		next := func() int {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return int(b)
		}
		number := func(limit int) int { // 1 to limit
			if len(script) < 4 {
				return 1
			}
			n := binary.LittleEndian.Uint32(script)
			script = script[4:]
			return 1 + int(n%uint32(limit))
		}
		limit := int64(MinLimit + next()<<8)
		shares := []int64{0, 50 << 10, 300 << 10, ample}
		share := shares[next()%len(shares)]
		m := &model{tls: next()%4 > 0}
		c := New(limit, share)
		if m.tls {
			c.StartTLS()
		}
		now := time.Unix(0, 0)
		reads, encrypts := true, true              // the client; the engine
		measured := func(admit func() int64) int { // as the connection does
			n := admit()
			if n == 0 {
				c.Update(m.reading(), m.held, share, now)
				n = admit()
			}
			return int(n)
		}
		pushed := func(n int, more bool) { // the socket accepts some of n bytes
			accepted := number(n)
			m.push(accepted, accepted == n && !more || accepted < n && next()%2 == 0)
			c.ChargePush(accepted, more || accepted < n)
			if m.held > 0 {
				m.held -= accepted
			} else {
				c.Charge(accepted)
			}
		}
		for len(script) > 0 {
			switch next() % 8 {
			case 0: // fill the pipe
				if m.held > 0 {
					break
				}
				want := int64(number(2 * Chunk))
				if n := measured(func() int64 { return c.Admit(want) }); n > 0 {
					m.held = number(n)
					c.Charge(m.held)
				}
			case 1: // push from the pipe
				if n := measured(func() int64 { return c.AdmitPush(int64(m.held)) }); n > 0 {
					pushed(n, n < m.held || next()%2 == 0)
				}
			case 2: // push from memory
				if m.held > 0 {
					break
				}
				want := number(2 * Chunk)
				if n := measured(func() int64 { return c.AdmitPush(c.Admit(int64(want))) }); n > 0 {
					pushed(n, n < want || next()%2 == 0)
				}
			case 3: // the engine completes a record
				if len(m.records) > 0 && encrypts {
					m.unsent += m.records[0]
					m.records = m.records[1:]
				}
			case 4: // TCP sends
				if m.unsent > 0 {
					n := int64(number(int(m.unsent)))
					m.unsent -= n
					m.inFlight += n
				}
			case 5: // the client acknowledges
				if m.inFlight > 0 && reads {
					n := int64(number(int(m.inFlight)))
					m.inFlight -= n
					m.acked += n
				}
			case 6:
				c.Update(m.reading(), m.held, share, now)
			case 7:
				now = now.Add(time.Duration(next()/32) * time.Millisecond)
				if next()%8 == 0 {
					share = shares[next()%len(shares)]
				}
				reads, encrypts = next()%4 > 0, next()%4 > 0
			}
			if m.holds() > limit || m.pending() > MaxPending {
				t.Fatalf("the kernel holds %d of %d bytes, %d of them inside kernel TLS", m.holds(), limit, m.pending())
			}
		}
		for _, r := range m.records {
			m.acked += r
		}
		m.acked += m.unsent + m.inFlight
		m.records, m.unsent, m.inFlight = nil, 0, 0
		c.Update(m.reading(), m.held, share, now)
		if m.held > 0 {
			if c.AdmitPush(int64(m.held)) == 0 {
				t.Errorf("none of the pipe's %d bytes are admitted, with %d in an open record", m.held, m.open)
			}
			return
		}
		if c.AdmitPush(c.Admit(1<<20)) == 0 {
			t.Errorf("nothing is admitted, with %d bytes in an open record, and a share of %d", m.open, share)
		}
	})
}

// TestAdmitOpenRecord: an open record leaves only when more bytes follow, so some are admitted,
// however small the connection's share is, and also if the record seemed to have ended.
func TestAdmitOpenRecord(t *testing.T) {
	for _, known := range []bool{true, false} {
		for open := range MaxRecord {
			c := New(MinLimit, 0)
			c.StartTLS()
			c.ChargePush(open, known)
			c.Update(ktls.Reading{Pending: int64(open)}, 0, 0, time.Unix(0, 0))
			if c.AdmitPush(c.Admit(1<<20)) == 0 {
				t.Fatalf("nothing is admitted with %d bytes in an open record", open)
			}
		}
	}
}

// TestPlainConnectionHasNoKeyLimit: bytes that the kernel does not encrypt use up no key.
func TestPlainConnectionHasNoKeyLimit(t *testing.T) {
	for _, tls := range []bool{false, true} {
		c := New(MinLimit, 1<<20)
		if tls {
			c.StartTLS()
		}
		for range MaxRecords {
			c.ChargePush(1, false)
		}
		if c.KeysExhausted() != tls {
			t.Errorf("kernel TLS %t: exhausted %t after %d pushes", tls, c.KeysExhausted(), MaxRecords)
		}
	}
}
