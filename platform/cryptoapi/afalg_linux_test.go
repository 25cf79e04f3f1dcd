package cryptoapi

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestKnownAnswersAreRight: Go's own AES-GCM computes the same answers.
func TestKnownAnswersAreRight(t *testing.T) {
	decode := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for i, v := range gcmVectors {
		block, err := aes.NewCipher(decode(v.key))
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		if got := gcm.Seal(nil, decode(v.iv), decode(v.plain), decode(v.additional)); !bytes.Equal(got, decode(v.sealed)) {
			t.Errorf("%d: %x, want %s", i, got, v.sealed)
		}
	}
}

// TestUnreachableDriver: a driver that does not exist is not reachable over AF_ALG, and no
// descriptor leaks.
func TestUnreachableDriver(t *testing.T) {
	before := descriptors(t)
	for _, driver := range []string{"no-such-driver", strings.Repeat("x", 1000), ""} {
		if err := KnownAnswers(driver); !errors.Is(err, ErrNoAFALG) {
			t.Errorf("%.20q: %v, want ErrNoAFALG", driver, err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d file descriptors open, want %d as before", after, before)
	}
}

// descriptors returns the number of open file descriptors of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
