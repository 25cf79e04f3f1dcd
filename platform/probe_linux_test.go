package platform

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

// TestOneCipherSuffices: kernel TLS is usable with any one cipher, and a missing cipher is named.
func TestOneCipherSuffices(t *testing.T) {
	done, noCipher := tlsAnswer{step: stepDone}, tlsAnswer{stepKey, unix.ENOENT}
	noModule := tlsAnswer{stepULP, unix.ENOENT}
	for _, tt := range []struct {
		name    string
		answers []tlsAnswer
		usable  bool
		chacha  string // part of its reason
	}{
		{"all", []tlsAnswer{done, done, done}, true, ""},
		{"no ChaCha20", []tlsAnswer{done, done, noCipher}, true, "no rfc7539(chacha20,poly1305)"},
		{"ChaCha20 alone", []tlsAnswer{noCipher, noCipher, done}, true, ""},
		{"before 5.11", []tlsAnswer{done, done, {stepKey, unix.EINVAL}}, true, "does not support TLS_CHACHA20_POLY1305_SHA256"},
		{"no cipher", []tlsAnswer{noCipher, noCipher, noCipher}, false, "no rfc7539"},
		{"no module", []tlsAnswer{noModule, noModule, noModule}, false, "CONFIG_TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Report
			r.setCiphers(tt.answers, tlsFacts{module: moduleAbsent}, nil)
			if r.KernelTLS.Usable != tt.usable {
				t.Errorf("kernel TLS: %+v, want usable %v", r.KernelTLS, tt.usable)
			}
			for i, c := range r.Ciphers {
				if c.Usable != (tt.answers[i] == done) || c.Name == "" {
					t.Errorf("%+v for %+v", c, tt.answers[i])
				}
			}
			if got := r.Ciphers[2].Reason; !strings.Contains(got, tt.chacha) || tt.chacha == "" && got != "" {
				t.Errorf("ChaCha20: %q, want %q in it", got, tt.chacha)
			}
		})
	}
}

// TestQuarantine: a cipher whose test failed is not set up, nor is another of the same driver, and
// the reason names the driver.
func TestQuarantine(t *testing.T) {
	wrong := errors.New("record 3 is encrypted wrongly")
	verdicts := Verdicts{tls.TLS_AES_256_GCM_SHA384: {Err: wrong}, tls.TLS_CHACHA20_POLY1305_SHA256: {}}
	r := Report{GCM: []cryptoapi.Algorithm{{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed"}}}
	answers := probeSuites(t.Context(), verdicts)
	answers[2] = tlsAnswer{step: stepDone}
	r.setCiphers(answers, tlsFacts{}, verdicts)
	for i, c := range r.Ciphers[:2] {
		if c.Usable || c.Verified || !c.Quarantined || !strings.Contains(c.Reason, "self-test of gcm-aes-caam failed: record 3") || !strings.Contains(c.Remedy, "blacklist") {
			t.Errorf("cipher %d: %+v", i, c)
		}
	}
	if c := r.Ciphers[2]; !c.Usable || !c.Verified || c.Quarantined || !r.KernelTLS.Usable {
		t.Errorf("ChaCha20: %+v, kernel TLS %+v", c, r.KernelTLS)
	}
	verdicts = Verdicts{tls.TLS_AES_128_GCM_SHA256: {Driver: "cpu"}, tls.TLS_AES_256_GCM_SHA384: {Driver: "gcm-aes-caam"}}
	r.Ciphers, r.KernelTLS = nil, Feature{}
	done := tlsAnswer{step: stepDone}
	r.setCiphers([]tlsAnswer{done, done, done}, tlsFacts{}, verdicts)
	if c := r.Ciphers[0]; c.Usable || c.Verified || c.Quarantined || !c.Inconclusive || !strings.Contains(c.Reason, "gcm-aes-caam now, which was registered while cpu was tested") {
		t.Errorf("another driver was tested: %+v", c)
	}
	if c := r.Ciphers[1]; !c.Usable || !c.Verified {
		t.Errorf("this driver was tested: %+v", c)
	}
	verdicts = Verdicts{tls.TLS_AES_128_GCM_SHA256: {Err: ErrTimeout}}
	r = Report{}
	answers = probeSuites(t.Context(), verdicts)
	answers[2] = tlsAnswer{stepKey, unix.ENOENT}
	r.setCiphers(answers, tlsFacts{}, verdicts)
	if !strings.Contains(r.KernelTLS.Reason, "gcm(aes) failed: no answer in time") || !strings.Contains(r.KernelTLS.Remedy, "reboot") {
		t.Errorf("kernel TLS: %+v", r.KernelTLS)
	}
}

// TestProbe probes this kernel, whatever its features are: the report must
// be consistent, and nothing may stay open.
func TestProbe(t *testing.T) {
	before := descriptors(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := Probe(ctx, testRings(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", *r)
	if r.Kernel == "" || r.Machine == "" {
		t.Errorf("kernel %q, machine %q, want both", r.Kernel, r.Machine)
	}
	for name, f := range map[string]Feature{"io_uring": r.IOURing, "kernel TLS": r.KernelTLS} {
		if f.Usable != (f.Reason == "") || f.Usable != (f.Remedy == "") || f.Usable && f.Inconclusive {
			t.Errorf("%s: %+v contradicts itself", name, f)
		}
		if f.Inconclusive {
			t.Errorf("%s could not be probed: %s", name, f.Reason)
		}
	}
	watcher := cryptoapi.OpenWatcher()
	any := false
	for _, c := range r.Ciphers {
		if any = any || c.Usable; c.Usable != r.Supports(c.Suite) {
			t.Errorf("%s: usable %v, supported %v", c.Name, c.Usable, r.Supports(c.Suite))
		}
		a, picked := r.Selected(c.Suite)
		if now := watcher.Selected(c.Suite).Driver; now != a.Driver {
			t.Errorf("%s: %q is selected now, and was %q in the report", c.Name, now, a.Driver)
		}
		if c.Usable && !picked {
			t.Errorf("kernel TLS accepted a key for %s, but /proc/crypto has no driver for it", c.Name)
		}
	}
	if err := watcher.Close(); err != nil {
		t.Error(err)
	}
	if any != r.KernelTLS.Usable || len(r.Ciphers) != len(ktls.Suites()) {
		t.Errorf("kernel TLS: %+v, but its ciphers %+v", r.KernelTLS, r.Ciphers)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d file descriptors open, want %d as before", after, before)
	}
}

func TestProbeEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Probe(ctx, testRings(), nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// descriptors counts the open file descriptors of this process. A ring's is
// gone when close returns.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
