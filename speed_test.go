package main

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
	n := newSpeedNote(report("6.12.1", "plain"))
	n.Speeds = []platform.Speed{{Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Cipher: "TLS_CHACHA20_POLY1305_SHA256", Kernel: true, MiBPerSecond: 120.5, SecondsPerGiB: 2}}
	if err := n.write(path); err != nil {
		t.Fatal(err)
	}
	if got, ok := newSpeedNote(report("6.12.1", "plain")).remembered(path); !ok || !reflect.DeepEqual(got, n.Speeds) {
		t.Errorf("read %+v, %t; want %+v", got, ok, n.Speeds)
	}
	later := newSpeedNote(report("6.12.1", "plain"))
	later.Program = "another"
	for name, other := range map[string]*speedNote{
		"kernel": newSpeedNote(report("6.12.2", "plain")), "driver": newSpeedNote(report("6.12.1", "accelerated")), "program": later,
	} {
		if _, ok := other.remembered(path); ok {
			t.Errorf("what was measured with another %s counts", name)
		}
	}
	if err := os.WriteFile(path, []byte(`{"speeds": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := newSpeedNote(report("6.12.1", "plain")).remembered(path); ok {
		t.Error("half a file counts")
	}
}

// TestAsked: the driver that is picked and all hardware are asked over AF_ALG, but for one that
// has not answered before, and those that the kernel does not let anybody use.
func TestAsked(t *testing.T) {
	alg := func(driver string, hardware bool, selfTest string) platform.Algorithm {
		return platform.Algorithm{Name: "gcm(aes)", Driver: driver, Type: "aead", SelfTest: selfTest, Hardware: hardware}
	}
	r := &platform.Report{GCM: []platform.Algorithm{
		alg("picked", false, "passed"), alg("cpu", false, "passed"), alg("caam", true, "passed"), alg("broken", true, "unknown"),
	}}
	right := platform.Verdicts{}
	dead := platform.Verdicts{tls.TLS_AES_128_GCM_SHA256: {Err: platform.ErrNoAnswer}}
	if got := asked(r, right); !reflect.DeepEqual(got, []string{"picked", "caam"}) {
		t.Errorf("asked: %q", got)
	}
	if got := asked(r, dead); !reflect.DeepEqual(got, []string{"caam"}) {
		t.Errorf("asked, with a dead one: %q", got)
	}
}

// TestAskDriver: AF_ALG that does not reach a driver says nothing about it.
func TestAskDriver(t *testing.T) {
	a := askDriver(t.Context(), "no-such-driver", "-brief")
	if a.Driver != "no-such-driver" || a.Asked || a.Right || a.Wrong || a.Reason == "" {
		t.Errorf("got %+v", a)
	}
}
