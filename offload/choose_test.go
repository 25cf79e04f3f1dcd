package offload

import (
	"crypto/tls"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// The suites that these tests use most.
const (
	suiteGCM    = tls.TLS_AES_128_GCM_SHA256
	suiteChaCha = tls.TLS_CHACHA20_POLY1305_SHA256
)

// report returns the report of a kernel that supports the ciphers for which it has a driver.
func report(aes bool, all ...cryptoapi.Algorithm) *platform.Report {
	yes := platform.Feature{Usable: true}
	no := platform.Feature{Reason: "no such cipher", Remedy: "build it"}
	r := &platform.Report{IOURing: yes, KernelTLS: no, AESInstructions: aes}
	for _, a := range all {
		r.KernelTLS = yes
		if a.Name == "gcm(aes)" {
			r.GCM = append(r.GCM, a)
		} else {
			r.ChaCha20 = append(r.ChaCha20, a)
		}
	}
	for _, suite := range []uint16{suiteGCM, suiteChaCha} {
		c := platform.Cipher{Suite: suite, Name: tls.CipherSuiteName(suite), Feature: no}
		if _, ok := r.Selected(suite); ok {
			c.Feature = yes
		}
		r.Ciphers = append(r.Ciphers, c)
	}
	return r
}

func TestChoose(t *testing.T) {
	gcm := cryptoapi.Algorithm{Name: "gcm(aes)", Driver: "generic", Type: "aead", SelfTest: "passed"}
	engine := cryptoapi.Algorithm{Name: "gcm(aes)", Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed", Async: true}
	threads := engine
	threads.Driver, threads.Deferred = "gcm_base(ctr-aes-neonbs,cryptd(ghash-ce-sync))", true
	chacha := cryptoapi.Algorithm{Name: "rfc7539(chacha20,poly1305)", Driver: "neon", Type: "aead", SelfTest: "passed"}
	asyncChacha := chacha
	asyncChacha.Driver, asyncChacha.Async = "caam", true
	for _, tc := range []struct {
		name   string
		kernel config.KernelTLS
		cipher config.Cipher
		report *platform.Report
		prefer ktls.Cipher
		takes  []uint16 // nil: nothing is offloaded
		async  bool
		reason string // part of it, or of the error
		err    bool
	}{
		{"an engine", "auto", "auto", report(false, engine, chacha), ktls.AESGCM, []uint16{suiteGCM, suiteChaCha}, true, "AES-GCM is preferred: the kernel has an asynchronous engine", false},
		{"other threads", "auto", "auto", report(false, threads, chacha), ktls.ChaCha20Poly1305, []uint16{suiteGCM, suiteChaCha}, true, "cryptd(ghash-ce-sync)) (asynchronous), rfc7539(chacha20,poly1305) by neon (synchronous); ChaCha20-Poly1305 is preferred: neither an engine", false},
		{"AES instructions", "auto", "auto", report(true, gcm, chacha), ktls.AESGCM, []uint16{suiteGCM, suiteChaCha}, false, "gcm(aes) by generic (synchronous), rfc7539(chacha20,poly1305) by neon (synchronous)", false},
		{"neither", "auto", "auto", report(false, gcm, chacha), ktls.ChaCha20Poly1305, []uint16{suiteGCM, suiteChaCha}, false, "ChaCha20-Poly1305 is preferred: neither an engine", false},
		{"neither, and ChaCha20 not in the kernel", "auto", "auto", report(false, gcm), ktls.AESGCM, []uint16{suiteGCM}, false, "the kernel supports no other cipher", false},
		{"the same, required", "require", "auto", report(false, gcm), ktls.AESGCM, []uint16{suiteGCM}, false, "the kernel supports no other cipher", false},
		{"ChaCha20 alone in the kernel", "auto", "auto", report(true, chacha), ktls.ChaCha20Poly1305, []uint16{suiteChaCha}, false, "", false},
		{"an engine for ChaCha20", "auto", "auto", report(false, gcm, asyncChacha), ktls.ChaCha20Poly1305, []uint16{suiteGCM, suiteChaCha}, true, "caam (asynchronous)", false},
		{"no kernel TLS", "auto", "auto", report(false), ktls.AnyCipher, nil, false, "no such cipher; build it", false},
		{"no kernel TLS, ChaCha20", "auto", "chacha20", report(true), ktls.ChaCha20Poly1305, nil, false, "tls.cipher is chacha20", false},
		{"switched off", "off", "aes-gcm", report(true, gcm), ktls.AESGCM, nil, false, "tls.kernel is off; AES-GCM is preferred: tls.cipher is aes-gcm", false},
		{"as configured", "auto", "chacha20", report(true, engine, chacha), ktls.ChaCha20Poly1305, []uint16{suiteGCM, suiteChaCha}, true, "", false},
		{"as configured, not in the kernel", "auto", "chacha20", report(true, gcm), ktls.ChaCha20Poly1305, []uint16{suiteGCM}, false, "", false},
		{"the same, required", "require", "chacha20", report(true, gcm), 0, nil, false, "does not support tls.cipher chacha20: no such cipher; build it", true},
		{"required, none", "require", "auto", report(true), 0, nil, false, "tls.kernel is require, but kernel TLS cannot be used: no such cipher", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := &config.Config{Listen: []config.Listen{{TLS: true}}, TLS: config.TLS{Kernel: tc.kernel, Cipher: tc.cipher}}
			c, err := Choose(cfg, tc.report)
			text := c.String()
			if err != nil {
				text = err.Error()
			}
			if (err != nil) != tc.err || !strings.Contains(text, tc.reason) || strings.Contains(text, "\n") {
				t.Errorf("got %q, error %v; want %q in it", text, err != nil, tc.reason)
			}
			if c.Prefer != tc.prefer || slices.ContainsFunc(c.Drivers, mayWait) != tc.async || c.Offload != (tc.takes != nil) || !slices.Equal(takes(c), tc.takes) {
				t.Errorf("got %+v", c)
			}
		})
	}
	tested := report(false, engine)
	tested.GCM[0].Hardware, tested.Ciphers[0].Verified = true, true
	if c, err := Choose(&config.Config{Listen: []config.Listen{{TLS: true}}}, tested); err != nil || !strings.Contains(Names(c.Drivers), "gcm(aes) by gcm-aes-caam (hardware, asynchronous, tested)") {
		t.Errorf("an engine that was tested: %+v, %v", c, err)
	}
	want := []Driver{{Suite: suiteGCM, Algorithm: "gcm(aes)", Name: "gcm-aes-caam", Async: true, Hardware: true, Verified: true}}
	if got := driversOf(tested); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, tc := range []struct {
		file   string
		aes    bool
		prefer ktls.Cipher
		reason string
	}{
		{"armv7-neonbs", false, ktls.ChaCha20Poly1305, "gcm(aes) by gcm_base(ctr-aes-neonbs,ghash-ce) (synchronous in system calls), rfc7539(chacha20,poly1305) by rfc7539(chacha20-neon,poly1305-arm) (synchronous); ChaCha20-Poly1305 is preferred: neither an engine"},
		{"amd64-aesni", true, ktls.AESGCM, "gcm(aes) by generic-gcm-aesni (synchronous in system calls), rfc7539(chacha20,poly1305) by rfc7539(chacha20-simd,poly1305-simd) (synchronous); AES-GCM is preferred: the processor has AES instructions"},
	} {
		f, err := os.Open("../platform/cryptoapi/testdata/" + tc.file + ".crypto")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all, err := cryptoapi.Parse(f)
		if err != nil {
			t.Fatal(err)
		}
		all = slices.DeleteFunc(all, func(a cryptoapi.Algorithm) bool { return a.Name != "gcm(aes)" && a.Name != chacha.Name })
		c, err := Choose(&config.Config{Listen: []config.Listen{{TLS: true}}}, report(tc.aes, all...))
		if err != nil || c.Prefer != tc.prefer || slices.ContainsFunc(c.Drivers, mayWait) || !strings.Contains(c.String(), tc.reason) || c.Warning != "" {
			t.Errorf("%s: %+v, %v; want %v", tc.file, c, err, tc.prefer)
		}
	}
	plain := gcm
	plain.Driver = "gcm_base(ctr(aes-generic),ghash-generic)"
	plainChaCha := chacha
	plainChaCha.Driver = "rfc7539(chacha20-generic,poly1305-generic)"
	for _, tc := range []struct {
		name    string
		cipher  config.Cipher
		aes     bool
		drivers []cryptoapi.Algorithm
		prefer  ktls.Cipher
		reason  string
		warned  bool
	}{
		{"beside NEON", "auto", true, []cryptoapi.Algorithm{plain, chacha}, ktls.ChaCha20Poly1305, "without the processor's AES instructions", true},
		{"both plain", "auto", true, []cryptoapi.Algorithm{plain, plainChaCha}, ktls.AESGCM, "no faster cipher", true},
		{"alone", "auto", true, []cryptoapi.Algorithm{plain}, ktls.AESGCM, "no faster cipher", true},
		{"as configured", "aes-gcm", true, []cryptoapi.Algorithm{plain, chacha}, ktls.AESGCM, "tls.cipher is aes-gcm", true},
		{"not preferred by configuration", "chacha20", true, []cryptoapi.Algorithm{plain, chacha}, ktls.ChaCha20Poly1305, "tls.cipher is chacha20", false},
		{"without AES instructions", "auto", false, []cryptoapi.Algorithm{plain, chacha}, ktls.ChaCha20Poly1305, "neither an engine", false},
		{"not picked", "auto", true, []cryptoapi.Algorithm{gcm, plain, chacha}, ktls.AESGCM, "the processor has AES instructions", false},
		{"an engine", "auto", true, []cryptoapi.Algorithm{engine, plain, chacha}, ktls.AESGCM, "an asynchronous engine", false},
	} {
		r := report(tc.aes, tc.drivers...)
		r.Machine = "aarch64"
		c, err := Choose(&config.Config{Listen: []config.Listen{{TLS: true}}, TLS: config.TLS{Kernel: "auto", Cipher: tc.cipher}}, r)
		warned := strings.Contains(c.Warning, plain.Driver) && strings.Contains(c.Warning, "CONFIG_CRYPTO_AES_ARM64_CE_BLK and CONFIG_CRYPTO_GHASH_ARM64_CE") &&
			strings.Contains(c.Warning, "kernel-module-aes-ce-blk and kernel-module-ghash-ce")
		if err != nil || c.Prefer != tc.prefer || !strings.Contains(c.String(), tc.reason) || warned != tc.warned || !warned && c.Warning != "" {
			t.Errorf("plain code, %s: %+v, %v; want %v", tc.name, c, err, tc.prefer)
		}
	}
	wrong := report(false, engine, chacha)
	wrong.Ciphers[0].Feature = platform.Feature{Reason: "the test has failed", Remedy: "reboot"}
	wrong.Ciphers[0].Quarantined = true
	for _, tc := range []struct {
		kernel  config.KernelTLS
		err     bool
		warning string
	}{
		{config.KernelAuto, false, "kernel TLS is not used with TLS_AES_128_GCM_SHA256: the test has failed; reboot"},
		{config.KernelOff, false, ""},
		{config.KernelRequire, true, ""},
	} {
		cfg := &config.Config{Listen: []config.Listen{{TLS: true}}, TLS: config.TLS{Kernel: tc.kernel, Cipher: "auto"}}
		c, err := Choose(cfg, wrong)
		if (err != nil) != tc.err || c.Warning != tc.warning || slices.Contains(takes(c), suiteGCM) || err != nil && !strings.Contains(err.Error(), "the test has failed; reboot") {
			t.Errorf("an engine that is wrong, %s: %+v, %v", tc.kernel, c, err)
		}
		if tc.kernel == config.KernelAuto && (c.Prefer != ktls.ChaCha20Poly1305 || slices.ContainsFunc(c.Drivers, mayWait)) {
			t.Errorf("an engine that is wrong: %+v; want the other cipher", c)
		}
	}
	for _, tc := range []struct {
		name, kernel, build string
		mode                config.KernelTLS
		drivers             []cryptoapi.Algorithm
		takes               []uint16
		prefer              ktls.Cipher
		defect              string // in the warning, or the error; "" if kernel TLS is used as elsewhere
	}{
		{"NXP", "6.6.3-gea3b1ed", "#1 SMP", "auto", []cryptoapi.Algorithm{engine, chacha}, []uint16{suiteChaCha}, ktls.ChaCha20Poly1305, "CVE-2024-26584"},
		{"required", "6.6.3-gea3b1ed", "#1 SMP", "require", []cryptoapi.Algorithm{engine, chacha}, nil, 0, "CVE-2024-26584"},
		{"no other cipher", "6.1.36-lts-next", "#1 SMP", "auto", []cryptoapi.Algorithm{engine}, nil, ktls.AnyCipher, "io_uring never completes"},
		{"off", "6.6.3", "", "off", []cryptoapi.Algorithm{engine}, nil, ktls.AnyCipher, ""},
		{"repaired", "6.6.136-lts-next", "", "auto", []cryptoapi.Algorithm{engine, chacha}, []uint16{suiteGCM, suiteChaCha}, ktls.AESGCM, ""},
		{"Debian", "6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)", "auto", []cryptoapi.Algorithm{engine, chacha}, []uint16{suiteChaCha}, ktls.ChaCha20Poly1305, "Linux 6.1.76 has a defect"},
		{"Debian, repaired", "6.1.0-50-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-08-26)", "require", []cryptoapi.Algorithm{engine, chacha}, []uint16{suiteGCM, suiteChaCha}, ktls.AESGCM, ""},
		{"synchronous", "6.6.3", "", "require", []cryptoapi.Algorithm{gcm, chacha}, []uint16{suiteGCM, suiteChaCha}, ktls.ChaCha20Poly1305, ""},
		{"both asynchronous", "6.6.3", "", "auto", []cryptoapi.Algorithm{engine, asyncChacha}, nil, ktls.AnyCipher, "TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256"},
	} {
		r := report(false, tc.drivers...)
		r.Kernel, r.Build = tc.kernel, tc.build
		cfg := &config.Config{Listen: []config.Listen{{TLS: true}}, TLS: config.TLS{Kernel: tc.mode, Cipher: "auto"}}
		c, err := Choose(cfg, r)
		text := c.Warning
		if err != nil {
			text = err.Error()
		}
		if (err != nil) != (tc.mode == config.KernelRequire && tc.defect != "") || !slices.Equal(takes(c), tc.takes) || c.Offload != (tc.takes != nil) || c.Prefer != tc.prefer {
			t.Errorf("a kernel with defects, %s: %+v, %v", tc.name, c, err)
		}
		if !strings.Contains(text, tc.defect) || (text == "") != (tc.defect == "") || text != "" && !strings.Contains(text, "if your vendor has fixed this kernel") {
			t.Errorf("a kernel with defects, %s: %q, want %q in it", tc.name, text, tc.defect)
		}
		if tc.defect != "" && err == nil && tc.takes == nil && !strings.Contains(c.String(), "kernel TLS is not used: the kernel encrypts with gcm-aes-caam") {
			t.Errorf("a kernel with defects, %s: %q", tc.name, c.String())
		}
	}
	// A test of sends decides on its defect in place of the version. All versions with that defect have
	// the other one, too, which is then the only reason.
	for _, tc := range []struct {
		name, kernel string
		sends        platform.SendTest
		offload      bool
		warning      string
	}{
		{"not tested", "7.0", platform.SendsUntested, true, ""},
		{"right", "7.0", platform.SendsAnswered, true, ""},
		{"a defect that the version does not tell", "7.0", platform.SendsUnanswered, false, "if the socket's buffer is full, fixed in 6.1.42, 6.4.7, 6.5 (this kernel was tested); use a later kernel"},
		{"repaired, which the version does not tell", "6.1.22", platform.SendsAnswered, false, "CVE-2024-26584"},
	} {
		r := report(false, engine)
		r.Kernel, r.Sends = tc.kernel, tc.sends
		c, err := Choose(&config.Config{Listen: []config.Listen{{TLS: true}}, TLS: config.TLS{Kernel: "auto", Cipher: "auto"}}, r)
		if err != nil || c.Offload != tc.offload || !strings.Contains(c.Warning, tc.warning) || (c.Warning == "") != tc.offload {
			t.Errorf("sends, %s: %+v, %v", tc.name, c, err)
		}
		if tc.sends == platform.SendsAnswered && strings.Contains(c.Warning, "io_uring never completes") {
			t.Errorf("sends, %s: %q", tc.name, c.Warning)
		}
	}
	hidden := report(true, gcm)
	hidden.GCM = nil // /proc/crypto cannot be read, as with ProcSubset=pid
	if c, err := Choose(&config.Config{Listen: []config.Listen{{TLS: true}}}, hidden); err != nil || !c.Offload || !slices.ContainsFunc(c.Drivers, mayWait) {
		t.Errorf("a driver that is not shown: %+v, %v; want it to be taken for asynchronous", c, err)
	}
	noTLS := &config.Config{Listen: []config.Listen{{}}}
	if c, err := Choose(noTLS, report(true, gcm)); err != nil || c.Offload || c.Prefer != ktls.AnyCipher {
		t.Errorf("without TLS: %+v, %v", c, err)
	}
}

func mayWait(e Driver) bool { return e.Async }

// takes are the cipher suites that kernel TLS would be used with.
func takes(c Choice) (suites []uint16) {
	for _, e := range c.Drivers {
		suites = append(suites, e.Suite)
	}
	return suites
}

// TestKnownFixes: the configuration takes the defects that platform knows, and no others.
func TestKnownFixes(t *testing.T) {
	if got, want := config.KnownFixes(), platform.KnownDefects(); !slices.Equal(got, want) {
		t.Errorf("the configuration knows %v, platform knows %v", got, want)
	}
}

// TestChoiceLogHasConstantMessages: the log's messages do not depend on the machine, which stands in
// the attributes.
func TestChoiceLogHasConstantMessages(t *testing.T) {
	for _, tc := range []struct {
		name   string
		choice Choice
		want   string
	}{
		{"no TLS", Choice{plain: true}, "level=INFO msg=\"no listener has TLS\"\n"},
		{"kernel TLS", Choice{Offload: true, Drivers: []Driver{{Algorithm: "gcm(aes)", Name: "caam"}}, Prefer: ktls.AESGCM, preferredBy: "of an engine", sources: "/proc/crypto"},
			"level=INFO msg=\"kernel TLS is used\" drivers=\"gcm(aes) by caam (synchronous)\" preferred_cipher=AES-GCM preferred_because=\"of an engine\" sources=/proc/crypto\n"},
		{"user space", Choice{notOffloaded: "no module; load it", sources: "/proc/crypto", Warning: "a driver is wrong"},
			"level=INFO msg=\"kernel TLS is not used\" reason=\"no module; load it\" sources=/proc/crypto\nlevel=WARN msg=\"kernel crypto drivers have problems\" reason=\"a driver is wrong\"\n"},
	} {
		var out strings.Builder
		tc.choice.Log(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})))
		if out.String() != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, out.String(), tc.want)
		}
	}
}

// TestChooseByMeasurement: where the kernel computes AES-GCM without the processor's instructions,
// the fastest of the allowed ciphers is used, as measured.
func TestChooseByMeasurement(t *testing.T) {
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

// TestNeedsMeasurement: a measurement is needed only where it decides between kernel and user space.
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
