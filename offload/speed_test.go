package offload

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"uringhttpd/offload/statefile"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// TestSpeedStateConditions: stored speeds are valid for the kernel, program and drivers with which
// they were measured, and no others.
func TestSpeedStateConditions(t *testing.T) {
	report := func(kernel, driver string) *platform.Report {
		return &platform.Report{Kernel: kernel, GCM: []cryptoapi.Algorithm{{Name: "gcm(aes)", Driver: driver, Type: "aead", SelfTest: "passed"}}}
	}
	path := filepath.Join(t.TempDir(), "state", "speeds.json")
	n := newSpeedState("1.0", report("6.12.1", "plain"))
	n.Speeds = []platform.Speed{{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Cipher: "TLS_CHACHA20_POLY1305_SHA256", Kernel: true, MiBPerSecond: 120.5, SecondsPerGiB: 2}}
	if err := statefile.Store(path, n); err != nil {
		t.Fatal(err)
	}
	if got, ok := newSpeedState("1.0", report("6.12.1", "plain")).load(path); !ok || !reflect.DeepEqual(got, n.Speeds) {
		t.Errorf("read %+v, %t; want %+v", got, ok, n.Speeds)
	}
	later := newSpeedState("1.0", report("6.12.1", "plain"))
	later.Program = "another"
	for name, other := range map[string]*speedState{
		"kernel": newSpeedState("1.0", report("6.12.2", "plain")), "driver": newSpeedState("1.0", report("6.12.1", "accelerated")), "program": later,
	} {
		if _, ok := other.load(path); ok {
			t.Errorf("speeds measured with another %s are valid", name)
		}
	}
	if err := os.WriteFile(path, []byte(`{"speeds": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := newSpeedState("1.0", report("6.12.1", "plain")).load(path); ok {
		t.Error("an incomplete file is valid")
	}
}

// TestSpeedsComplete: measurements without a suite that kernel TLS supports now are not used.
func TestSpeedsComplete(t *testing.T) {
	plain := cryptoapi.Algorithm{Name: "gcm(aes)", Driver: "plain", Type: "aead", SelfTest: "passed"}
	chacha := cryptoapi.Algorithm{Name: "rfc7539(chacha20,poly1305)", Driver: "neon", Type: "aead", SelfTest: "passed"}
	gcm, other := platform.Speed{Suite: suiteGCM, Kernel: true}, platform.Speed{Suite: suiteChaCha, Kernel: true}
	user := platform.Speed{Suite: suiteGCM}
	for _, tt := range []struct {
		name   string
		speeds []platform.Speed
		report *platform.Report
		want   bool
	}{
		{"all", []platform.Speed{gcm, other, user}, report(true, plain, chacha), true},
		{"more than there is now", []platform.Speed{gcm, other, user}, report(true, plain), true},
		{"without ChaCha20", []platform.Speed{gcm, user}, report(true, plain, chacha), false},
		{"a kernel without ChaCha20", []platform.Speed{gcm, user}, report(true, plain), true},
		{"without user space", []platform.Speed{gcm, other}, report(true, plain, chacha), false},
		{"none", nil, report(true, plain), false},
	} {
		if got := complete(tt.speeds, tt.report); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestBestSpeedCounts: of several measurements of the same kind, the one with the most throughput
// counts.
func TestBestSpeedCounts(t *testing.T) {
	var n speedState
	for _, speed := range []float64{20, 50, 30} {
		n.add(platform.Speed{Suite: suiteGCM, Kernel: true, MiBPerSecond: speed})
		n.add(platform.Speed{Suite: suiteChaCha, Kernel: true, MiBPerSecond: speed + 1})
		n.add(platform.Speed{Suite: suiteGCM, MiBPerSecond: speed + 2})
	}
	want := []platform.Speed{
		{Suite: suiteGCM, Kernel: true, MiBPerSecond: 50}, {Suite: suiteChaCha, Kernel: true, MiBPerSecond: 51}, {Suite: suiteGCM, MiBPerSecond: 52},
	}
	if !reflect.DeepEqual(n.Speeds, want) {
		t.Errorf("got %+v, want %+v", n.Speeds, want)
	}
}
