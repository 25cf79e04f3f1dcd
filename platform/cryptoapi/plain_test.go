package cryptoapi

import (
	"slices"
	"testing"
)

// TestPlainDrivers: drivers without special instructions are recognized by the parts in their names.
func TestPlainDrivers(t *testing.T) {
	for _, tt := range []struct {
		driver string
		plain  bool
	}{
		{"gcm_base(ctr(aes-generic),ghash-generic)", true},
		{"gcm_base(ctr-aes-ce,ghash-generic)", true},
		{"gcm_base(ctr(aes-generic),ghash-ce)", true},
		{"gcm_base(ctr(aes-arm64),ghash-generic)", true},
		{"gcm_base(ctr(aes-arm),ghash-neon)", true},
		{"gcm_base(ctr(aes-fixed-time),ghash-ce)", true},
		{"gcm_base(ctr(aes-lib),ghash-lib)", false},
		{"gcm_base(ctr-aes-neon,ghash-neon)", false},
		{"gcm_base(ctr-aes-neonbs,ghash-ce)", false},
		{"gcm-aes-ce", false},
		{"generic-gcm-aesni", false},
		{"generic-gcm-aesni-avx", false},
		{"generic-gcm-vaes-avx10_512", false},
		{"gcm-aes-caam", false},
		{"generic", false},
		{"", false},
	} {
		a := Algorithm{Driver: tt.driver}
		if a.Plain() != tt.plain {
			t.Errorf("%q: plain %v, want %v", tt.driver, !tt.plain, tt.plain)
		}
		if a.Async = true; a.Plain() {
			t.Errorf("%q, which is asynchronous, counts as plain", tt.driver)
		}
	}
	for driver, plain := range map[string]bool{
		"rfc7539(chacha20-generic,poly1305-generic)": true,
		"rfc7539(chacha20-generic,poly1305-neon)":    true,
		"rfc7539(chacha20-neon,poly1305-neon)":       false,
		"rfc7539(chacha20-simd,poly1305-simd)":       false,
		"rfc7539(chacha20-arm64,poly1305-generic)":   false,
	} {
		if a := (Algorithm{Driver: driver}); a.PlainChaCha20() != plain {
			t.Errorf("%s: plain %v, want %v", driver, !plain, plain)
		}
	}
	if got, want := leaves("a(b(c,d),e)"), []string{"c", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
