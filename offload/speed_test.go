package offload

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"uringhttpd/platform"
)

// TestSpeedNote: what was measured counts for the kernel, program and drivers that it was measured
// with, and no others.
func TestSpeedNote(t *testing.T) {
	report := func(kernel, driver string) *platform.Report {
		return &platform.Report{Kernel: kernel, GCM: []platform.Algorithm{{Name: "gcm(aes)", Driver: driver, Type: "aead", SelfTest: "passed"}}}
	}
	path := filepath.Join(t.TempDir(), "state", "speeds.json")
	n := newSpeedNote("1.0", report("6.12.1", "plain"))
	n.Speeds = []platform.Speed{{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Cipher: "TLS_CHACHA20_POLY1305_SHA256", Kernel: true, MiBPerSecond: 120.5, SecondsPerGiB: 2}}
	if err := n.write(path); err != nil {
		t.Fatal(err)
	}
	if got, ok := newSpeedNote("1.0", report("6.12.1", "plain")).remembered(path); !ok || !reflect.DeepEqual(got, n.Speeds) {
		t.Errorf("read %+v, %t; want %+v", got, ok, n.Speeds)
	}
	later := newSpeedNote("1.0", report("6.12.1", "plain"))
	later.Program = "another"
	for name, other := range map[string]*speedNote{
		"kernel": newSpeedNote("1.0", report("6.12.2", "plain")), "driver": newSpeedNote("1.0", report("6.12.1", "accelerated")), "program": later,
	} {
		if _, ok := other.remembered(path); ok {
			t.Errorf("what was measured with another %s counts", name)
		}
	}
	if err := os.WriteFile(path, []byte(`{"speeds": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := newSpeedNote("1.0", report("6.12.1", "plain")).remembered(path); ok {
		t.Error("half a file counts")
	}
}
