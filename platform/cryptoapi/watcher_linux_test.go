package cryptoapi

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A fakeList is /proc/crypto, newest first, and counts the bytes that are read.
type fakeList struct {
	entries []string
	bytes   int
	err     error
	torn    func() // called at each end of the list
}

func (l *fakeList) ReadAt(p []byte, off int64) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	n, err := strings.NewReader(strings.Join(l.entries, "\n")).ReadAt(p, off)
	l.bytes += n
	if err != nil && l.torn != nil {
		l.torn()
	}
	return n, err
}

func entry(name, driver, priority, selftest string) string {
	return "name         : " + name + "\ndriver       : " + driver + "\nmodule       : m\npriority     : " + priority +
		"\nrefcnt       : 1\nselftest     : " + selftest + "\ninternal     : no\ntype         : aead\n"
}

// TestWatcherSeesChanges: a new driver is selected at once, at the cost of one entry; the removal
// of a driver or a new priority is seen within a second; a driver in its self-test is selected as
// soon as it has passed.
func TestWatcherSeesChanges(t *testing.T) {
	clock := time.Unix(1e9, 0)
	list := &fakeList{}
	for range 100 {
		list.entries = append(list.entries, entry("sha256", "sha256-generic", "100", "passed"))
	}
	list.entries = append(list.entries, entry("gcm(aes)", "cpu", "100", "passed"))
	w := &Watcher{list: list, now: func() time.Time { return clock }}
	want := func(when, driver string) {
		t.Helper()
		want := Selection{Known: driver != "not known", Driver: driver}
		if driver == "not known" || driver == "none" {
			want.Driver = ""
		}
		want.Driver, want.Testing = strings.CutSuffix(want.Driver, " for now")
		if got := w.Selected(tls.TLS_AES_128_GCM_SHA256); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
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
	want("an engine was registered", "engine")
	list.entries[0] = strings.Replace(list.entries[0], "refcnt       : 1", "refcnt       : 2", 1)
	list.bytes = 0
	if want("it is in use", "engine"); list.bytes > maxCryptoLine {
		t.Errorf("%d bytes were read, since it is in use", list.bytes)
	}
	list.entries[0] = entry("gcm(aes)", "engine", "1", "passed")
	want("its priority has changed, and it is the first", "cpu")
	list.entries = append([]string{entry("sha1", "sha1-generic", "1", "passed")}, list.entries...)
	want("another algorithm was registered", "cpu")
	list.entries[1] = entry("gcm(aes)", "engine", "3000", "passed")
	clock = clock.Add(maxAge)
	want("its priority has changed, and it is not the first, and a second later", "engine")
	list.entries = list.entries[2:]
	want("it was removed", "cpu")
	all := list.entries
	list.entries = list.entries[:len(all)-1]
	clock = clock.Add(maxAge)
	want("all were removed", "none")
	list.entries = all
	clock = clock.Add(maxAge)
	want("one is back", "cpu")

	larva := func(driver, priority string) string {
		return strings.Replace(entry("gcm(aes)", driver, priority, "passed"), "aead", "larval", 1)
	}
	list.entries = append([]string{larva("", "-1")}, list.entries...)
	want("the kernel looks for a module", "cpu")
	list.entries[0] = larva("worse", "1")
	want("the kernel tests one that is not better", "cpu")
	list.entries = append([]string{entry("sha1", "sha1-generic", "1", "passed"), larva("slow", "3000"), entry("gcm(aes)", "slow", "3000", "unknown")}, list.entries...)
	want("the kernel tests a better one", "cpu for now")
	list.entries[1] = entry("sha1", "sha1-ce", "1", "passed")
	list.entries[2] = entry("gcm(aes)", "slow", "3000", "passed")
	want("it has passed", "slow")
	list.entries[2] = entry("gcm(aes)", "slow", "3000", "unknown")
	clock = clock.Add(maxAge)
	want("it has failed", "cpu")
	list.bytes = 0
	if want("again", "cpu"); list.bytes > maxCryptoLine {
		t.Errorf("%d bytes were read, since a driver has failed", list.bytes)
	}
	if got := w.Selected(tls.TLS_CHACHA20_POLY1305_SHA256); got != (Selection{Known: true}) {
		t.Errorf("of another cipher: %+v", got)
	}
	clock = clock.Add(maxAge)
	list.torn = func() { list.entries[1] = strings.Replace(list.entries[1], "sha1-ce", "sha1-x", 1); list.torn = nil }
	want("the list changes while it is read", "cpu")
	clock = clock.Add(maxAge)
	n := 0
	list.torn = func() { n++; list.entries[1] = entry("sha1", fmt.Sprint(n), "1", "passed") }
	want("the list never stops changing", "not known")
	list.torn = nil
	list.entries[0] = entry("sha1", "sha1-neon", "1", "passed")
	list.err = errors.New("no list")
	want("no list any more", "not known")
	list.err = nil
	want("and again", "cpu")
	w = &Watcher{now: time.Now}
	want("no list at all", "not known")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkWatcher measures the look-up that is made twice for each handshake, and the same with the
// whole list read each time.
func BenchmarkWatcher(b *testing.B) {
	for _, whole := range []bool{false, true} {
		b.Run(fmt.Sprintf("whole=%t", whole), func(b *testing.B) {
			w := OpenWatcher()
			defer w.Close()
			b.ReportAllocs()
			for b.Loop() {
				if whole {
					w.selected = nil
				}
				w.Selected(tls.TLS_AES_128_GCM_SHA256)
			}
		})
	}
}
