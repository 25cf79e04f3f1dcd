package offload

import (
	"crypto/tls"
	"errors"
	"reflect"
	"testing"

	"uringhttpd/ktls"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// TestCandidates: the driver that is picked and all hardware are asked over AF_ALG, but for one that
// has not answered before, and those that the kernel does not let anybody use.
func TestCandidates(t *testing.T) {
	alg := func(driver string, hardware bool, selfTest string) cryptoapi.Algorithm {
		return cryptoapi.Algorithm{Name: "gcm(aes)", Driver: driver, Type: "aead", SelfTest: selfTest, Hardware: hardware}
	}
	r := &platform.Report{GCM: []cryptoapi.Algorithm{
		alg("picked", false, "passed"), alg("cpu", false, "passed"), alg("caam", true, "passed"), alg("broken", true, "unknown"),
	}}
	right := platform.Verdicts{}
	dead := platform.Verdicts{tls.TLS_AES_128_GCM_SHA256: {Err: platform.ErrTimeout}}
	if got := candidates(r, right); !reflect.DeepEqual(got, []string{"picked", "caam"}) {
		t.Errorf("asked: %q", got)
	}
	if got := candidates(r, dead); !reflect.DeepEqual(got, []string{"caam"}) {
		t.Errorf("asked, with a dead one: %q", got)
	}
}

// TestDistrust: a wrong answer of the selected driver over AF_ALG is a verdict, unless the self-test
// has found a failure already; answers of other drivers are not.
func TestDistrust(t *testing.T) {
	wrong := cryptoapi.DriverAnswer{Driver: "caam", Asked: true, Wrong: true, Reason: "known answer 0"}
	silent := cryptoapi.DriverAnswer{Driver: "caam", Asked: true, Reason: "no answer in time"}
	failed := errors.New("record 3 is encrypted wrongly")
	for _, tt := range []struct {
		name     string
		before   error // of the self-test
		answer   cryptoapi.DriverAnswer
		selected string
		want     string // error of both key lengths
	}{
		{"wrong", nil, wrong, "caam", "over AF_ALG: known answer 0"},
		{"wrong, and not selected", nil, wrong, "ce", ""},
		{"no answer", nil, silent, "caam", ""},
		{"the self-test failed", failed, wrong, "caam", failed.Error()},
	} {
		verdicts := platform.Verdicts{}
		for _, suite := range ktls.AESGCM.Suites() {
			verdicts[suite.ID] = platform.Verdict{Driver: "caam", Err: tt.before}
		}
		again := distrust(verdicts, []cryptoapi.DriverAnswer{tt.answer}, tt.selected)
		for _, suite := range ktls.AESGCM.Suites() {
			got := ""
			if err := verdicts[suite.ID].Err; err != nil {
				got = err.Error()
			}
			if got != tt.want || again != (tt.before == nil && tt.want != "") {
				t.Errorf("%s: %q, %t; want %q", tt.name, got, again, tt.want)
			}
		}
	}
}
