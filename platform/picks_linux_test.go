package platform

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"
)

// fakeList is /proc/crypto, newest first, and counts what is read of it.
type fakeList struct {
	entries []string
	bytes   int
	err     error
}

func (l *fakeList) ReadAt(p []byte, off int64) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	n, err := strings.NewReader(strings.Join(l.entries, "\n")).ReadAt(p, off)
	l.bytes += n
	return n, err
}

func entry(name, driver, priority, selftest string) string {
	return "name         : " + name + "\ndriver       : " + driver + "\nmodule       : m\npriority     : " + priority +
		"\nrefcnt       : 1\nselftest     : " + selftest + "\ninternal     : no\ntype         : aead\n"
}

// TestPicks: a driver that is registered is known at once, for little; one that goes, or whose
// priority is set, soon; one that the kernel is still testing as soon as it has passed.
func TestPicks(t *testing.T) {
	clock := time.Unix(1e9, 0)
	list := &fakeList{}
	for range 100 {
		list.entries = append(list.entries, entry("sha256", "sha256-generic", "100", "passed"))
	}
	list.entries = append(list.entries, entry("gcm(aes)", "cpu", "100", "passed"))
	p := &Picks{list: list, now: func() time.Time { return clock }}
	want := func(when, driver string) {
		t.Helper()
		if got := p.Driver(tls.TLS_AES_128_GCM_SHA256); got != driver {
			t.Errorf("%s: %q, want %q", when, got, driver)
		}
	}
	want("at first", "cpu")
	list.bytes = 0
	for range 10 {
		want("again", "cpu")
		if list.bytes > 10*maxCryptoLine {
			t.Fatalf("%d bytes were read", list.bytes)
		}
	}
	list.entries = append([]string{entry("gcm(aes)", "engine", "3000", "passed")}, list.entries...)
	want("an engine has come", "engine")
	list.entries[0] = strings.Replace(list.entries[0], "refcnt       : 1", "refcnt       : 2", 1)
	list.bytes = 0
	if want("it is in use", "engine"); list.bytes > maxCryptoLine {
		t.Errorf("%d bytes were read, since it is in use", list.bytes)
	}
	list.entries[0] = entry("gcm(aes)", "engine", "1", "passed")
	want("its priority has changed, and it is the first", "cpu")
	list.entries = append([]string{entry("sha1", "sha1-generic", "1", "passed")}, list.entries...)
	want("something else has come", "cpu")
	list.entries[1] = entry("gcm(aes)", "engine", "3000", "passed")
	clock = clock.Add(picksAge)
	want("its priority has changed, and it is not the first, and a second later", "engine")
	list.entries = list.entries[2:]
	want("it has gone", "cpu")

	list.entries = append([]string{entry("gcm(aes)", "slow", "3000", "unknown")}, list.entries...)
	list.entries = append([]string{entry("sha1", "sha1-generic", "1", "passed")}, list.entries...)
	want("the kernel tests one", "cpu")
	list.entries[1] = entry("gcm(aes)", "slow", "3000", "passed")
	want("it has passed", "slow")
	if got := p.Driver(tls.TLS_CHACHA20_POLY1305_SHA256); got != "" {
		t.Errorf("of another cipher: %q", got)
	}
	list.err = errors.New("no list")
	want("no list any more", "")
	list.err = nil
	want("and again", "slow")
	p = &Picks{now: time.Now}
	want("no list at all", "")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkPicks is what is done twice for each handshake.
func BenchmarkPicks(b *testing.B) {
	p := OpenPicks()
	defer p.Close()
	b.ReportAllocs()
	for b.Loop() {
		p.Driver(tls.TLS_AES_128_GCM_SHA256)
	}
}
