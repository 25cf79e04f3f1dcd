package cryptoapi

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"uringhttpd/ktls"
)

// parseFile reads a list of testdata.
func parseFile(t *testing.T, name string) []Algorithm {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	all, err := Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestInlineBoards: lists of ARMv7 boards with bit-sliced NEON AES and of PCs, in which the kernel
// marks the selected driver asynchronous although it computes in its caller, or in another thread
// of the processor; and lists with an engine. Two are composed from the sources of Linux
// 6.6; those of emulated boards that run Debian's Linux 6.12
//
//	go test -tags board ./test/board -run 'TestBoards/.*-accelerated' -board.full -board.update
//
// writes.
func TestInlineBoards(t *testing.T) {
	for _, tt := range []struct {
		file   string
		driver string
		waits  bool
		engine bool
	}{
		{"armv7-neonbs.crypto", "gcm_base(ctr-aes-neonbs,ghash-ce)", false, false},
		{"amd64-aesni.crypto", "generic-gcm-aesni", false, false},
		{"armv7-accelerated-asynchronous.crypto", "gcm_base(ctr-aes-neonbs,cryptd(ghash-ce-sync))", true, false},
		{"armv7-accelerated-synchronous-in-system-calls.crypto", "gcm_base(ctr-aes-neonbs,ghash-generic)", false, false},
		{"amd64-accelerated-synchronous-in-system-calls.crypto", "generic-gcm-aesni-avx", false, false},
		{"armv7-caam.crypto", "gcm-aes-caam", true, true},
		{"composed.crypto", "gcm_base(ctr-aes-caam,ghash-neon)", true, true},
	} {
		all := parseFile(t, tt.file)
		gcm := Implementations(all, ktls.AlgorithmGCM)
		if len(gcm) == 0 {
			t.Errorf("%s: no gcm(aes)", tt.file)
			continue
		}
		a := gcm[0]
		if !a.Selectable() || a.Driver != tt.driver || !a.Async || a.Waits() != tt.waits || a.Inline == tt.waits || a.Engine() != tt.engine || a.Deferred != (tt.waits && !tt.engine) {
			t.Errorf("%s: %+v, want %s, asynchronous, that waits: %v, for an engine: %v", tt.file, a, tt.driver, tt.waits, tt.engine)
		}
		if mayWait(all) != tt.waits {
			t.Errorf("%s: setting up kernel TLS may wait: %v, want %v", tt.file, !tt.waits, tt.waits)
		}
	}
}

// TestInline: a driver computes in its caller if it is the outer one of two, or a template of such
// drivers and synchronous ones; and on the processor, if cryptd and pcrypt are among the
// templates.
func TestInline(t *testing.T) {
	const lists = `name : ctr(aes)
driver : ctr-aes-neonbs
type : skcipher
async : yes

name : __ctr(aes)
driver : __ctr-aes-neonbs
internal : yes
type : skcipher
async : no

name : ctr(aes)
driver : ctr-aes-caam
type : skcipher
async : yes

name : gcm(aes)
driver : generic-gcm-aesni
type : aead
async : yes

name : __gcm(aes)
driver : cryptd(__generic-gcm-aesni)
internal : yes
type : aead
async : yes

name : gcm(aes)
driver : gcm-aes-odd
type : aead
async : yes

name : gcm(aes)
driver : __gcm-aes-odd
type : aead
async : no

name : ghash
driver : ghash-generic
type : shash

name : ghash
driver : ghash-ce
type : ahash
async : yes

name : ctr(aes)
driver : ctr(aes-generic)
type : skcipher
async : no
`
	for _, tt := range []struct {
		driver   string
		inline   bool
		deferred bool
	}{
		{"gcm_base(ctr-aes-neonbs,ghash-generic)", true, false},
		{"gcm_base(ctr-aes-neonbs,ghash-lib)", true, false},
		{"rfc4106(gcm_base(ctr-aes-neonbs,ghash-generic))", true, false},
		{"gcm_base(ctr-aes-neonbs,ghash-ce)", false, false}, // no ghash-ce-sync: it may be anything
		{"gcm_base(ctr-aes-neonbs,ghash-caam)", false, false},
		{"gcm_base(ctr-aes-caam,ghash-generic)", false, false},
		{"gcm_base(ctr(aes-generic),ghash-ce)", false, false},
		{"cryptd(gcm_base(ctr-aes-neonbs,ghash-generic))", false, true},
		{"cryptd(gcm_base(ctr(aes-generic),ghash-generic))", false, true},
		{"gcm_base(ctr-aes-neonbs,cryptd(ghash-ce-sync))", false, false}, // no ghash-ce-sync
		{"pcrypt(gcm-aes-caam)", false, false},
		{"cryptd(gcm_base(ctr-aes-caam,ghash-generic))", false, false},
		{"pcrypt(generic-gcm-aesni)", false, true},
		{"pcrypt(pcrypt(gcm_base(ctr-aes-neonbs,ghash-generic)))", false, true},
		{"gcm_base(pcrypt(ctr-aes-neonbs),ghash-generic)", false, true},
		{"gcm_base(ctr-aes-neonbs,ghash-generic", false, false},
		{"gcm_base()", false, false},
		{strings.Repeat("gcm_base(", 100) + "ctr-aes-neonbs" + strings.Repeat(")", 100), false, false},
		{"gcm-aes-caam", false, false},
	} {
		text := lists + "\nname : gcm(aes)\ndriver : " + tt.driver + "\ntype : aead\nasync : yes\n"
		all, err := Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if a := all[len(all)-1]; a.Inline != tt.inline || a.Waits() == tt.inline || !a.Async {
			t.Errorf("%s: inline %v, want %v", tt.driver, a.Inline, tt.inline)
		} else if a.Deferred != tt.deferred || a.Engine() != (!tt.inline && !tt.deferred) {
			t.Errorf("%s: deferred %v, want %v; engine %v", tt.driver, a.Deferred, tt.deferred, a.Engine())
		}
		for _, a := range all[:len(all)-1] {
			if want := a.Driver == "ctr-aes-neonbs" || a.Driver == "generic-gcm-aesni"; a.Inline != want {
				t.Errorf("%s: inline %v, want %v", a.Driver, a.Inline, want)
			}
		}
	}
	for _, a := range []Algorithm{{Inline: true}, {Deferred: true}} {
		a.Async, a.Hardware = true, true
		if !a.Waits() || !a.Engine() {
			t.Errorf("%+v: hardware for the kernel, but not for this package", a)
		}
	}
}
