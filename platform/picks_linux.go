package platform

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// picksAge is how long, in a kernel whose list has no new entry, what was read of it is
// good: a driver is removed, or another priority set, without a trace.
const picksAge = time.Second

// Picks tells, again and again, who computes a cipher for a kernel TLS connection that is
// set up now. The list of a board takes the kernel a millisecond to write. But what is
// registered is put at its head (__crypto_register_alg in crypto/algapi.c), and the kernel
// writes no more of a list than is read (seq_read_iter in fs/seq_file.c). So it is enough to
// read the head each time, and the rest if that is another. It is safe for use by several goroutines.
type Picks struct {
	list io.ReaderAt // in the format of /proc/crypto
	now  func() time.Time

	mu      sync.Mutex
	buf     [maxCryptoLine]byte
	head    string // the first entry
	read    time.Time
	settled bool              // of no algorithm of ours, the kernel's self-test may still end
	drivers map[string]string // by algorithm
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

// Driver names who computes the cipher of a suite of TLS 1.3; "" if the list does not tell.
// A driver that has been registered before the call is known; that one has gone, or has
// another priority, may take a second to be.
func (p *Picks) Driver(suite uint16) string {
	if p.list == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if !p.settled || now.Sub(p.read) >= picksAge || p.first() != p.head {
		p.readAll()
		p.read = now
	}
	for _, c := range kernelCiphers {
		if c.suite == suite {
			return p.drivers[c.algorithm]
		}
	}
	return ""
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

// readAll reads the whole list.
func (p *Picks) readAll() {
	p.head, p.settled, p.drivers = "", false, map[string]string{}
	text, err := io.ReadAll(io.NewSectionReader(p.list, 0, maxCryptoBytes))
	if err != nil {
		return
	}
	all, err := ParseCrypto(bytes.NewReader(text))
	if err != nil {
		return
	}
	p.head, p.settled = identity(text), true
	for _, name := range []string{gcmAES, chaCha20Poly1305} {
		list := named(all, name)
		if len(list) > 0 && list[0].eligible() {
			p.drivers[name] = list[0].Driver
		}
		for _, a := range list {
			p.settled = p.settled && (a.eligible() || a.Internal)
		}
	}
}
