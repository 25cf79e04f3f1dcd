package platform

import (
	"bytes"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// picksAge is how long, in a kernel whose list has no new entry, what was read of it
	// is good: a driver is removed, or another priority set, without a trace.
	picksAge = time.Second
	// picksReads are how often the list is read at most until it is twice the same.
	picksReads = 5
)

// A Pick is who computes a cipher for a kernel TLS connection that is set up now.
type Pick struct {
	Seen   bool   // the list of algorithms can be read; nothing is known if it cannot
	Driver string // "" if the kernel has none, or has to make one of parts first
	// Testing tells that the kernel still tests another driver, which would be picked before
	// this one: who sets kernel TLS up waits for the outcome, and gets that one if it passes.
	Testing bool
}

// Picks tells, again and again, who computes a cipher. The list of a board takes the kernel
// a millisecond to write. But what is registered is put at its head (__crypto_register_alg
// in crypto/algapi.c), and the kernel writes no more of a list than is read (seq_read_iter in
// fs/seq_file.c). So it is enough to read the head each time, and the rest if that is another.
// It is safe for use by several goroutines.
type Picks struct {
	list io.ReaderAt // in the format of /proc/crypto
	now  func() time.Time

	mu    sync.Mutex
	buf   [maxCryptoLine]byte
	head  string // the first entry
	read  time.Time
	picks map[string]Pick // by algorithm; nil: not known
}

// OpenPicks opens /proc/crypto. Where that cannot be read nothing is known of any driver.
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

// Driver tells who computes the cipher of a suite of TLS 1.3. A driver that has been registered
// before the call is known; that one has gone, or has another priority, may take a second to be.
func (p *Picks) Driver(suite uint16) Pick {
	if p.list == nil {
		return Pick{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	testing := p.picks[gcmAES].Testing || p.picks[chaCha20Poly1305].Testing // may end at any time
	if p.picks == nil || testing || now.Sub(p.read) >= picksAge || p.first() != p.head {
		p.readAll()
		p.read = now
	}
	for _, c := range kernelCiphers {
		if c.suite == suite {
			return p.picks[c.algorithm]
		}
	}
	return Pick{}
}

// first reads the first entry.
func (p *Picks) first() string {
	n, err := p.list.ReadAt(p.buf[:], 0)
	if err != nil && err != io.EOF {
		return ""
	}
	return identity(p.buf[:n])
}

// identity is what of the first entry of a list stays the same as long as it is the first.
func identity(text []byte) string {
	entry, _, _ := bytes.Cut(text, []byte("\n\n"))
	before, _, _ := bytes.Cut(entry, []byte("\nrefcnt"))
	return string(before) // name, driver, module and priority
}

// readAll reads the whole list. The kernel writes it in pieces, and what goes between two of
// them takes another entry with it: so it is read until it is the same twice.
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

// pick tells who is picked for a name.
func pick(all []Algorithm, name string) Pick {
	p := Pick{Seen: true}
	lowest := 0
	if list := named(all, name); len(list) > 0 && list[0].eligible() {
		p.Driver, lowest = list[0].Driver, list[0].Priority
	}
	for _, a := range all {
		// A larva of an algorithm that is being tested has its driver's name and priority.
		p.Testing = p.Testing || a.Name == name && a.Type == "larval" && a.Priority >= lowest && a.Driver != ""
	}
	return p
}
