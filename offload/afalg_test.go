package offload

import (
	"crypto/tls"
	"reflect"
	"testing"

	"uringhttpd/platform"
)

// TestCandidates: the driver that is picked and all hardware are asked over AF_ALG, but for one that
// has not answered before, and those that the kernel does not let anybody use.
func TestCandidates(t *testing.T) {
	alg := func(driver string, hardware bool, selfTest string) platform.Algorithm {
		return platform.Algorithm{Name: "gcm(aes)", Driver: driver, Type: "aead", SelfTest: selfTest, Hardware: hardware}
	}
	r := &platform.Report{GCM: []platform.Algorithm{
		alg("picked", false, "passed"), alg("cpu", false, "passed"), alg("caam", true, "passed"), alg("broken", true, "unknown"),
	}}
	right := platform.Verdicts{}
	dead := platform.Verdicts{tls.TLS_AES_128_GCM_SHA256: {Err: platform.ErrNoAnswer}}
	if got := candidates(r, right); !reflect.DeepEqual(got, []string{"picked", "caam"}) {
		t.Errorf("asked: %q", got)
	}
	if got := candidates(r, dead); !reflect.DeepEqual(got, []string{"caam"}) {
		t.Errorf("asked, with a dead one: %q", got)
	}
}
