package platform

import (
	"crypto/tls"
	"testing"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

// TestSources: a report names the sources that contributed, and no others.
func TestSources(t *testing.T) {
	gcm := []cryptoapi.Algorithm{{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-caam"}}
	for _, tc := range []struct {
		report Report
		want   string
	}{
		{Report{}, "the probe of kernel TLS alone"},
		{Report{GCM: gcm}, "/proc/crypto"},
		{Report{GCM: gcm, AFALG: []cryptoapi.DriverAnswer{{Driver: "gcm-aes-caam"}}}, "/proc/crypto"},
		{Report{GCM: gcm, Netlink: Feature{Usable: true}}, "/proc/crypto and NETLINK_CRYPTO"},
		{Report{GCM: gcm, Netlink: Feature{Usable: true}, AFALG: []cryptoapi.DriverAnswer{{Asked: true}}, Ciphers: []Cipher{{Verified: true}}, Speeds: []Speed{{}}},
			"/proc/crypto, NETLINK_CRYPTO, AF_ALG, a test of kernel TLS and a measurement"},
	} {
		if got := tc.report.Sources(); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.report, got, tc.want)
		}
	}
}

// TestBetterSpeed: of two speeds that are about the same, the one with less processor time is
// better.
func TestBetterSpeed(t *testing.T) {
	for _, tc := range []struct {
		s, t Speed
		want bool
	}{
		{Speed{MiBPerSecond: 120, SecondsPerGiB: 9}, Speed{MiBPerSecond: 100, SecondsPerGiB: 1}, true},
		{Speed{MiBPerSecond: 105, SecondsPerGiB: 9}, Speed{MiBPerSecond: 100, SecondsPerGiB: 1}, false},
		{Speed{MiBPerSecond: 95, SecondsPerGiB: 1}, Speed{MiBPerSecond: 100, SecondsPerGiB: 2}, true},
		{Speed{MiBPerSecond: 80, SecondsPerGiB: 1}, Speed{MiBPerSecond: 100, SecondsPerGiB: 2}, false},
	} {
		if got := tc.s.Better(tc.t); got != tc.want {
			t.Errorf("%+v better than %+v: %t", tc.s, tc.t, got)
		}
	}
}

// TestNoSelectedDriver: a driver that the kernel may not select is not the selected driver.
func TestNoSelectedDriver(t *testing.T) {
	for _, tt := range []struct {
		name string
		gcm  []cryptoapi.Algorithm
	}{
		{"no entry", nil},
		{"self-test failed", []cryptoapi.Algorithm{{Name: "gcm(aes)", Type: "aead", SelfTest: "unknown"}}},
		{"internal", []cryptoapi.Algorithm{{Name: "gcm(aes)", Type: "aead", SelfTest: "passed", Internal: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Report{GCM: cryptoapi.Implementations(tt.gcm, ktls.AlgorithmGCM)}
			if a, ok := r.Selected(tls.TLS_AES_128_GCM_SHA256); ok {
				t.Errorf("Selected() = %+v, want none", a)
			}
		})
	}
}
