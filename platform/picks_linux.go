package platform

import (
	"bytes"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"uringhttpd/ktls"
)

const (
	// picksAge is how long a list that was read stays valid while it has no new entry at its
	// head: removing a driver or changing a priority leaves the head unchanged.
	picksAge = time.Second
	// picksReads is the maximum number of reads of the list until two are equal.
	picksReads = 5
)

// A Pick is the driver that a kernel TLS connection set up now would use for a cipher.
type Pick struct {
	Seen   bool   // the list of algorithms can be read; nothing is known if it cannot
	Driver string // "" if the kernel has none, or has to build a template first
	// Testing reports that another driver with at least this priority is in the kernel's
	// self-test: setting kernel TLS up waits for the outcome, and uses that driver if it passes.
	Testing bool
}

// Picks watches the kernel's list of algorithms for the selected driver of each cipher. The kernel
// takes a millisecond to write the list of a board. But a new algorithm is inserted at the head of
// the list (__crypto_register_alg in crypto/algapi.c), and the kernel writes no more of the list
// than is read (seq_read_iter in fs/seq_file.c). Picks therefore reads the head each time, and the
// rest only if the head has changed. It is safe for concurrent use.
type Picks struct {
	list io.ReaderAt // in the format of /proc/crypto
	now  func() time.Time

	mu    sync.Mutex
	buf   [maxCryptoLine]byte
	head  string // the first entry
	read  time.Time
	picks map[string]Pick // by algorithm; nil if not known
}

// OpenPicks opens /proc/crypto. If it cannot be read, Seen is false in each Pick.
func OpenPicks() *Picks {
	p := &Picks{now: time.Now}
	if f, err := os.Open("/proc/crypto"); err == nil {
		p.list = f
	}
	return p
}

// Close closes the list.
func (p *Picks) Close() error {
	if c, ok := p.list.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Driver returns the selected driver for the cipher of a TLS 1.3 suite. A driver registered before
// the call is always seen; the removal of a driver, or a change of its priority, may be seen up to
// one second late.
func (p *Picks) Driver(suite uint16) Pick {
	if p.list == nil {
		return Pick{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	testing := p.picks[gcmAES].Testing || p.picks[chaCha20Poly1305].Testing // the self-test may end at any time
	if p.picks == nil || testing || now.Sub(p.read) >= picksAge || p.first() != p.head {
		p.readAll()
		p.read = now
	}
	c, _ := ktls.SuiteOf(suite)
	return p.picks[c.Algorithm]
}

// first reads the first entry of the list and returns its identity.
func (p *Picks) first() string {
	n, err := p.list.ReadAt(p.buf[:], 0)
	if err != nil && err != io.EOF {
		return ""
	}
	return identity(p.buf[:n])
}

// identity returns the constant fields of the first entry of a list, those before refcnt.
func identity(text []byte) string {
	entry, _, _ := bytes.Cut(text, []byte("\n\n"))
	before, _, _ := bytes.Cut(entry, []byte("\nrefcnt"))
	return string(before) // name, driver, module and priority
}

// readAll reads the whole list. The kernel writes it in pieces, and an algorithm removed between
// two pieces makes another entry be skipped, so readAll repeats until two reads are equal.
func (p *Picks) readAll() {
	p.head, p.picks = "", nil
	var before []Algorithm
	for range picksReads {
		text, err := io.ReadAll(io.NewSectionReader(p.list, 0, maxCryptoBytes))
		if err != nil {
			return
		}
		all, err := ParseCrypto(bytes.NewReader(text))
		if err != nil {
			return
		}
		if before == nil || !slices.Equal(all, before) {
			before = all
			continue
		}
		p.head = identity(text)
		p.picks = map[string]Pick{gcmAES: pick(all, gcmAES), chaCha20Poly1305: pick(all, chaCha20Poly1305)}
		return
	}
}

// pick returns the selected driver for an algorithm name.
func pick(all []Algorithm, name string) Pick {
	p := Pick{Seen: true}
	lowest := 0
	if list := named(all, name); len(list) > 0 && list[0].eligible() {
		p.Driver, lowest = list[0].Driver, list[0].Priority
	}
	for _, a := range all {
		// The larval of an algorithm in its self-test has the driver's name and priority.
		p.Testing = p.Testing || a.Name == name && a.Type == "larval" && a.Priority >= lowest && a.Driver != ""
	}
	return p
}
