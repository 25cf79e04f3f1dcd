//go:build linux

package ktls

import (
	"crypto/tls"
	"testing"
)

// TestSuiteIsFoundByEachID: a suite is found by its number in TLS 1.3 and by both in TLS 1.2, and
// crypto/tls knows these numbers.
func TestSuiteIsFoundByEachID(t *testing.T) {
	for _, s := range Suites() {
		if found, ok := SuiteOf(s.ID); !ok || found.ID != s.ID {
			t.Errorf("SuiteOf(%s): got %x, %t", s.Name(), found.ID, ok)
		}
		for _, id := range []uint16{s.rsa12, s.ecdsa12} {
			if found, ok := suiteOf12(id); !ok || found.ID != s.ID {
				t.Errorf("suiteOf12(%s): got %x, %t, want %x", tls.CipherSuiteName(id), found.ID, ok, s.ID)
			}
			if _, ok := SuiteOf(id); ok {
				t.Errorf("SuiteOf finds %s, a suite of TLS 1.2", tls.CipherSuiteName(id))
			}
		}
	}
	known := map[uint16]bool{}
	for _, s := range tls.CipherSuites() {
		known[s.ID] = true
	}
	for _, s := range Suites() {
		if !known[s.ID] || !known[s.rsa12] || !known[s.ecdsa12] {
			t.Errorf("crypto/tls does not know all of %x, %x and %x", s.ID, s.rsa12, s.ecdsa12)
		}
	}
}

// TestInfoSizeHasABound: the buffer of TXSequence holds the structure of each suite.
func TestInfoSizeHasABound(t *testing.T) {
	largest := 0
	for _, s := range suites {
		largest = max(largest, s.infoSize())
	}
	if largest != maxInfoSize {
		t.Errorf("the largest structure has %d bytes, maxInfoSize is %d", largest, maxInfoSize)
	}
}

func TestSuiteOfUnknown(t *testing.T) {
	if s, ok := SuiteOf(tls.TLS_RSA_WITH_AES_128_CBC_SHA); ok || s.ID != 0 {
		t.Errorf("got %x, %t", s.ID, ok)
	}
}

// TestSuitesOfCipher: the suites of both ciphers are all suites, and the first stands for the
// cipher.
func TestSuitesOfCipher(t *testing.T) {
	gcm, chacha := AESGCM.Suites(), ChaCha20Poly1305.Suites()
	if len(gcm)+len(chacha) != len(Suites()) {
		t.Errorf("%d and %d suites, want %d altogether", len(gcm), len(chacha), len(Suites()))
	}
	for _, c := range []Cipher{AESGCM, ChaCha20Poly1305} {
		if c.Suite() != c.Suites()[0].ID {
			t.Errorf("%v: the first suite is %x, want %x", c, c.Suite(), c.Suites()[0].ID)
		}
	}
	if AnyCipher.Suite() != 0 || len(AnyCipher.Suites()) != 0 {
		t.Errorf("AnyCipher has the suites %v", AnyCipher.Suites())
	}
}
