package ktls

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProbeNamesTheOption: a kernel refuses a suite with an error that names the option that failed,
// and its errno.
func TestProbeNamesTheOption(t *testing.T) {
	for _, s := range Suites() {
		err := Probe(t.Context(), s)
		var refused *OffloadError
		if err == nil {
			continue // this kernel has the suite
		}
		var errno unix.Errno
		if !errors.As(err, &refused) || refused.Option != OptionULP && refused.Option != OptionTX || !errors.As(refused.Err, &errno) {
			t.Errorf("%s: %v", s.Name(), err)
		}
	}
}

// TestProbeRefusesUnknownCipher: a cipher type that no kernel has is refused.
func TestProbeRefusesUnknownCipher(t *testing.T) {
	s := Suites()[0]
	s.cipherType = 999
	var refused *OffloadError
	if err := Probe(t.Context(), s); !errors.As(err, &refused) {
		t.Errorf("got %v, want an OffloadError", err)
	}
}

// TestProbeEnds: without a connection the error is not one of the kernel's TLS.
func TestProbeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var refused *OffloadError
	if err := Probe(ctx, Suites()[0]); err == nil || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}
