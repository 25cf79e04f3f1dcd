package offload

import (
	"strings"
	"testing"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// TestMeasuredChoice: where the kernel computes AES-GCM without the processor's instructions, the
// fastest of the allowed ciphers is used, as measured.
func TestMeasuredChoice(t *testing.T) {
	passed := func(name, driver string) cryptoapi.Algorithm {
		return cryptoapi.Algorithm{Name: name, Driver: driver, Type: "aead", SelfTest: "passed", Priority: 100}
	}
	plain := passed("gcm(aes)", "gcm_base(ctr(aes-generic),ghash-generic)")
	chacha := passed("rfc7539(chacha20,poly1305)", "rfc7539(chacha20-neon,poly1305-neon)")
	speeds := func(gcm, chacha, user float64) []platform.Speed {
		return []platform.Speed{
			{Suite: suiteGCM, Kernel: true, MiBPerSecond: gcm, SecondsPerGiB: 3},
			{Suite: suiteChaCha, Kernel: true, MiBPerSecond: chacha, SecondsPerGiB: 3},
			{Suite: suiteGCM, MiBPerSecond: user, SecondsPerGiB: 1},
		}
	}
	for _, tc := range []struct {
		name    string
		kernel  config.KernelTLS
		cipher  config.Cipher
		driver  cryptoapi.Algorithm
		speeds  []platform.Speed
		offload bool
		prefer  ktls.Cipher
		reason  string
	}{
		{"user space", "auto", "auto", plain, speeds(50, 100, 300), false, ktls.AnyCipher, "kernel TLS is not used: it is slower than user space on this machine, with 100 against 300 MiB/s; known from "},
		{"hardly faster", "auto", "auto", plain, speeds(50, 100, 105), true, ktls.ChaCha20Poly1305, "ChaCha20-Poly1305 is preferred: it was measured to be the fastest, with 100 MiB/s"},
		{"the kernel's ChaCha20", "auto", "auto", plain, speeds(50, 400, 300), true, ktls.ChaCha20Poly1305, "it was measured to be the fastest, with 400 MiB/s"},
		{"the kernel's AES-GCM", "auto", "auto", plain, speeds(500, 400, 300), true, ktls.AESGCM, "it was measured to be the fastest, with 500 MiB/s"},
		{"AES-GCM alone", "auto", "aes-gcm", plain, speeds(50, 400, 300), false, ktls.AESGCM, "with 50 against 300 MiB/s"},
		{"required", "require", "auto", plain, speeds(50, 100, 300), true, ktls.ChaCha20Poly1305, "kernel TLS is used"},
		{"not measured", "auto", "auto", plain, nil, true, ktls.ChaCha20Poly1305, "without the processor's AES instructions"},
		{"another driver since", "auto", "auto", passed("gcm(aes)", "gcm-aes-ce"), speeds(50, 100, 300), true, ktls.AESGCM, "the processor has AES instructions"},
	} {
		r := report(true, tc.driver, chacha)
		r.Machine, r.Speeds = "aarch64", tc.speeds
		c, err := Choose(&config.Config{Listen: []config.Listen{{TLS: true}}, TLS: config.TLS{Kernel: tc.kernel, Cipher: tc.cipher}}, r)
		if err != nil || c.Offload != tc.offload || c.Prefer != tc.prefer || !strings.Contains(c.String(), tc.reason) {
			t.Errorf("%s: %+v, %v; want %t, %v, %q", tc.name, c, err, tc.offload, tc.prefer, tc.reason)
		}
		if warned := strings.Contains(c.Warning, "kernel-module-aes-ce-blk"); warned != (tc.driver == plain) {
			t.Errorf("%s: the warning is %q", tc.name, c.Warning)
		}
	}
}

// TestNeedsMeasurement: it is measured only where that decides something.
func TestNeedsMeasurement(t *testing.T) {
	plain := cryptoapi.Algorithm{Name: "gcm(aes)", Driver: "gcm_base(ctr(aes-generic),ghash-generic)", Type: "aead", SelfTest: "passed"}
	for _, tc := range []struct {
		name   string
		tls    bool
		kernel config.KernelTLS
		cipher config.Cipher
		aes    bool
		driver string
		want   bool
	}{
		{"plain C beside AES instructions", true, "auto", "auto", true, plain.Driver, true},
		{"AES-GCM alone", true, "auto", "aes-gcm", true, plain.Driver, true},
		{"no listener with TLS", false, "auto", "auto", true, plain.Driver, false},
		{"required", true, "require", "auto", true, plain.Driver, false},
		{"off", true, "off", "auto", true, plain.Driver, false},
		{"ChaCha20 alone", true, "auto", "chacha20", true, plain.Driver, false},
		{"no AES instructions", true, "auto", "auto", false, plain.Driver, false},
		{"AES instructions in use", true, "auto", "auto", true, "generic-gcm-aesni", false},
	} {
		a := plain
		a.Driver = tc.driver
		cfg := &config.Config{Listen: []config.Listen{{TLS: tc.tls}}, TLS: config.TLS{Kernel: tc.kernel, Cipher: tc.cipher}}
		if got := NeedsMeasurement(cfg, report(tc.aes, a)); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.want)
		}
	}
}
