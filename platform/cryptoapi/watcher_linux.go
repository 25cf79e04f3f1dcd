package cryptoapi

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
	// maxAge is the time for which a list stays valid while it has no new entry at its head: removing
	// a driver or changing a priority leaves the head unchanged.
	maxAge = time.Second
	// maxReads is the maximum number of reads of the list until two are equal.
	maxReads = 5
)

// A Selection is the driver that a kernel TLS connection set up now would use for a cipher.
type Selection struct {
	Known  bool   // the list of algorithms can be read
	Driver string // "" if the kernel has none, or has to build a template driver first
	// Testing reports that another driver with at least this priority is in the kernel's
	// self-test: setting kernel TLS up waits for the outcome, and uses that driver if it passes.
	Testing bool
}

// A Watcher watches the kernel's list of algorithms for the selected driver of each cipher. The
// kernel takes a millisecond to write the list of a board. But a new algorithm is inserted at the
// head of the list (__crypto_register_alg in crypto/algapi.c), and the kernel writes no more of
// the list than is read (seq_read_iter in fs/seq_file.c). A Watcher therefore reads the head each
// time, and the rest only if the head has changed. It is safe for concurrent use.
type Watcher struct {
	list io.ReaderAt // in the format of /proc/crypto; nil if it cannot be read
	now  func() time.Time

	mu       sync.Mutex
	buf      [maxCryptoLine]byte
	head     string // entryKey of the first entry
	read     time.Time
	selected map[string]Selection // by algorithm; nil if not known
}

// OpenWatcher opens /proc/crypto. If it cannot be read, Known is false in each Selection.
func OpenWatcher() *Watcher {
	w := &Watcher{now: time.Now}
	if f, err := os.Open("/proc/crypto"); err == nil {
		w.list = f
	}
	return w
}

// Close closes the list.
func (w *Watcher) Close() error {
	if c, ok := w.list.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Selected returns the selected driver for the cipher of a TLS 1.3 suite. A driver registered before
// the call is always included; the removal of a driver, or a change of its priority, may be seen up
// to one second late.
func (w *Watcher) Selected(suite uint16) Selection {
	if w.list == nil {
		return Selection{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if w.selected == nil || w.testing() || now.Sub(w.read) >= maxAge || w.first() != w.head {
		w.readAll()
		w.read = now
	}
	s, _ := ktls.SuiteOf(suite)
	return w.selected[s.Algorithm]
}

// testing reports whether a driver is in the kernel's self-test, which may end at any time.
func (w *Watcher) testing() bool {
	for _, s := range w.selected {
		if s.Testing {
			return true
		}
	}
	return false
}

// first reads the first entry of the list and returns its key.
func (w *Watcher) first() string {
	n, err := w.list.ReadAt(w.buf[:], 0)
	if err != nil && err != io.EOF {
		return ""
	}
	return entryKey(w.buf[:n])
}

// entryKey returns the fields that identify the first entry of a list: name, driver, module and
// priority. The next field, refcnt, changes whenever the driver is used.
func entryKey(text []byte) string {
	entry, _, _ := bytes.Cut(text, []byte("\n\n"))
	before, _, _ := bytes.Cut(entry, []byte("\nrefcnt"))
	return string(before)
}

// readAll reads the whole list. The kernel writes it in pieces, and an algorithm removed between
// two pieces makes another entry be skipped, so readAll repeats until two reads are equal.
func (w *Watcher) readAll() {
	w.head, w.selected = "", nil
	var before []Algorithm
	for range maxReads {
		text, err := io.ReadAll(io.NewSectionReader(w.list, 0, maxCryptoBytes))
		if err != nil {
			return
		}
		all, err := Parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		if before == nil || !slices.Equal(all, before) {
			before = all
			continue
		}
		w.head = entryKey(text)
		w.selected = map[string]Selection{}
		for _, s := range ktls.Suites() {
			w.selected[s.Algorithm] = selection(all, s.Algorithm)
		}
		return
	}
}

// selection returns the selected driver for an algorithm name.
func selection(all []Algorithm, name string) Selection {
	s := Selection{Known: true}
	lowest := 0
	if list := Implementations(all, name); len(list) > 0 && list[0].Selectable() {
		s.Driver, lowest = list[0].Driver, list[0].Priority
	}
	for _, a := range all {
		// The larval of an algorithm in its self-test has the driver's name and priority.
		s.Testing = s.Testing || a.Name == name && a.Type == "larval" && a.Priority >= lowest && a.Driver != ""
	}
	return s
}
