package platform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
	"uringhttpd/uring"
)

func TestURingFeature(t *testing.T) {
	// The usual process: no sysctl, no filter, no capability.
	plain := uringFacts{disabled: -1, group: -1}
	with := func(change func(*uringFacts)) uringFacts {
		f := plain
		change(&f)
		return f
	}
	for _, tt := range []struct {
		name         string
		errno        unix.Errno
		facts        uringFacts
		inconclusive bool
		reason       string // part of it
		remedy       string // part of it
	}{
		{"too old", unix.ENOSYS, plain, false, "no io_uring: it is too old or was built without", "CONFIG_IO_URING=y"},
		{"too old, or filtered", unix.ENOSYS, with(func(f *uringFacts) { f.seccomp = true }), false, "(or a seccomp filter hides it)", "SystemCallFilter="},
		{"hidden by a filter", unix.ENOSYS, with(func(f *uringFacts) { f.seccomp, f.disabled = true, 0 }), false, "a seccomp filter hides", "SystemCallFilter="},
		{"before 6.1", unix.EINVAL, plain, false, "older than Linux 6.1", "Linux 6.1"},
		{"off by sysctl", unix.EPERM, with(func(f *uringFacts) { f.disabled = 2 }), false, "io_uring_disabled is 2", "io_uring_disabled = 0"},
		{"off by sysctl and filter", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.seccomp = 2, true }), false, "io_uring_disabled is 2", ""},
		{"restricted, no group", unix.EPERM, with(func(f *uringFacts) { f.disabled = 1 }), false, "io_uring_group is not set", "io_uring_group"},
		{"restricted, other group", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.group = 1, 990 }), false, "not in kernel.io_uring_group (990)", "io_uring_group"},
		{"restricted, but a member, and a filter", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.group, f.inGroup, f.seccomp = 1, 990, true, true }), false, "seccomp", "io_uring_enter"},
		{"restricted, but root, and a filter", unix.EPERM, with(func(f *uringFacts) { f.disabled, f.process.capEff, f.seccomp = 1, 1<<capSysAdmin, true }), false, "seccomp", ""},
		{"filter", unix.EPERM, with(func(f *uringFacts) { f.seccomp, f.disabled = true, 0 }), false, "a seccomp filter forbids io_uring_setup: SystemCallFilter= of the unit or the container's profile", "io_uring_register"},
		{"filter with EACCES", unix.EACCES, with(func(f *uringFacts) { f.seccomp = true }), false, "seccomp", ""},
		{"security module", unix.EPERM, plain, false, "neither", "SELinux"},
		{"no memory", unix.ENOMEM, plain, true, "RLIMIT_MEMLOCK", "LimitMEMLOCK="},
		{"no descriptor", unix.EMFILE, plain, true, "file descriptor", "LimitNOFILE="},
		{"unheard of", unix.EIO, plain, true, "EIO", "dmesg"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := error(&uring.FeatureError{Feature: "io_uring", Call: setupCall, Errno: tt.errno})
			check(t, uringFeature(err, tt.facts), tt.inconclusive, tt.reason, tt.remedy)
		})
	}
	filtered := with(func(f *uringFacts) { f.seccomp, f.disabled = true, 2 })
	register := func(errno unix.Errno) error {
		return &uring.FeatureError{Feature: "IORING_REGISTER_PROBE", Call: "io_uring_register", Errno: errno}
	}
	enter := func(errno unix.Errno) error {
		return fmt.Errorf("uring: %w", os.NewSyscallError("io_uring_enter", errno))
	}
	for _, tt := range []struct {
		name           string
		err            error
		facts          uringFacts
		inconclusive   bool
		reason, remedy string
	}{
		{"filter of io_uring_register", register(unix.EPERM), filtered, false, "a seccomp filter forbids io_uring_register (IORING_REGISTER_PROBE): SystemCallFilter=", "io_uring_register"},
		{"filter hides io_uring_register", register(unix.ENOSYS), filtered, false, "a seccomp filter hides io_uring_register (IORING_REGISTER_PROBE)", "io_uring_register"},
		{"no io_uring_register", register(unix.ENOSYS), plain, false, "has io_uring_setup, but not io_uring_register", "CONFIG_IO_URING"},
		{"io_uring_register forbidden", register(unix.EACCES), plain, false, "forbids io_uring_register (IORING_REGISTER_PROBE)", "SELinux"},
		{"io_uring_register, unheard of", register(unix.EINVAL), plain, true, "io_uring_register (IORING_REGISTER_PROBE) failed with invalid argument (EINVAL)", "dmesg"},
		{"filter of io_uring_enter", enter(unix.EPERM), filtered, false, "a seccomp filter forbids io_uring_enter:", "io_uring_enter"},
		{"filter hides io_uring_enter", enter(unix.ENOSYS), filtered, false, "a seccomp filter hides io_uring_enter", "io_uring_enter"},
		{"no operation", &uring.FeatureError{Feature: "IORING_OP_SPLICE"}, plain, false, "lacks IORING_OP_SPLICE", "Linux 6.1"},
		{"no descriptor", fmt.Errorf("uring: %w", os.NewSyscallError("io_uring_setup", unix.EMFILE)), plain, true, "file descriptor", "LimitNOFILE="},
		{"no system call", os.ErrInvalid, plain, true, "invalid argument", "try again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, uringFeature(tt.err, tt.facts), tt.inconclusive, tt.reason, tt.remedy)
		})
	}
	if got := uringFeature(nil, plain); got != (Feature{Usable: true}) {
		t.Errorf("success: %+v, want usable and no more", got)
	}
}

func TestTLSFeature(t *testing.T) {
	admin := status{capEff: 1 << capNetAdmin}
	for _, tt := range []struct {
		name         string
		step         tlsStep
		err          error
		facts        tlsFacts
		inconclusive bool
		reason       string
		remedy       string
	}{
		{"not built", stepULP, unix.ENOENT, tlsFacts{module: moduleAbsent}, false, "built without CONFIG_TLS", "CONFIG_TLS=m"},
		{"not built, root", stepULP, unix.ENOENT, tlsFacts{module: moduleAbsent, process: admin}, false, "built without CONFIG_TLS", "CONFIG_TLS=m"},
		{"not built, as its configuration says", stepULP, unix.ENOENT, tlsFacts{module: moduleUnknown, option: optionNo}, false, "built without CONFIG_TLS", "CONFIG_TLS=m"},
		{"not installed", stepULP, unix.ENOENT, tlsFacts{module: moduleAbsent, option: optionModule}, false, "not installed", "kernel-module-tls"},
		{"not loaded", stepULP, unix.ENOENT, tlsFacts{module: moduleOnDisk}, false, "only for a process with CAP_NET_ADMIN", "modules-load.d"},
		{"fails to load", stepULP, unix.ENOENT, tlsFacts{module: moduleOnDisk, process: admin}, false, "failed to load", "modprobe tls"},
		{"loading forbidden", stepULP, unix.ENOENT, tlsFacts{module: moduleOnDisk, loadDisabled: true}, false, "modules_disabled", "reboot"},
		{"not visible", stepULP, unix.ENOENT, tlsFacts{module: moduleUnknown}, false, "not visible", "modprobe tls"},
		{"loaded meanwhile", stepULP, unix.ENOENT, tlsFacts{module: moduleLoaded}, true, "during the probe", "try again"},
		{"no TCP_ULP", stepULP, unix.ENOPROTOOPT, tlsFacts{}, false, "does not support TCP_ULP", "6.1"},
		{"ULP, unheard of", stepULP, unix.ENOTCONN, tlsFacts{}, true, "ENOTCONN", "dmesg"},
		{"no cipher", stepKey, unix.ENOENT, tlsFacts{module: moduleLoaded}, false, "no gcm(aes)", "CONFIG_CRYPTO_GCM"},
		{"self-test failed", stepKey, unix.ELIBBAD, tlsFacts{module: moduleLoaded}, false, "self-test", "alg: "},
		{"no TLS 1.3", stepKey, unix.EINVAL, tlsFacts{module: moduleLoaded}, false, "does not support TLS_AES_128_GCM_SHA256", "6.1"},
		{"key, unheard of", stepKey, unix.ENOMEM, tlsFacts{module: moduleLoaded}, true, "ENOMEM", "dmesg"},
		{"no loopback", stepLoopback, errors.New("connect: network is unreachable"), tlsFacts{}, true, "network is unreachable", "lo up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, tlsFeature(tlsAnswer{tt.step, tt.err}, ktls.Suites()[0], tt.facts), tt.inconclusive, tt.reason, tt.remedy)
		})
	}
	if got := tlsFeature(tlsAnswer{step: stepDone}, ktls.Suites()[0], tlsFacts{}); got != (Feature{Usable: true}) {
		t.Errorf("success: %+v, want usable and no more", got)
	}
}

func check(t *testing.T, got Feature, inconclusive bool, reason, remedy string) {
	t.Helper()
	if got.Usable || got.Inconclusive != inconclusive {
		t.Errorf("usable %v, inconclusive %v, want false, %v", got.Usable, got.Inconclusive, inconclusive)
	}
	if !strings.Contains(got.Reason, reason) || strings.Contains(got.Reason, "\n") {
		t.Errorf("reason %q, want one line with %q", got.Reason, reason)
	}
	if got.Remedy == "" || !strings.Contains(got.Remedy, remedy) || strings.Contains(got.Remedy, "\n") {
		t.Errorf("remedy %q, want one line with %q", got.Remedy, remedy)
	}
}

// TestPickedNone: a driver that the kernel may not select is not the selected driver.
func TestPickedNone(t *testing.T) {
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
				t.Errorf("Picked() = %+v, want none", a)
			}
		})
	}
}

// TestCiphers: kernel TLS is usable with any one cipher, and a missing one is named.
func TestCiphers(t *testing.T) {
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

// TestQuarantine: a cipher that was encrypted wrongly is not tried, nor is another of the
// same driver; and who did it is named.
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

func TestTLSModule(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  presence
	}{
		{"nothing to see", nil, moduleUnknown},
		{"loaded or built in", map[string]string{"proc/sys/net/ipv4/tcp_available_ulp": "espintcp mptcp tls\n"}, moduleLoaded},
		{"sysfs alone", map[string]string{"sys/module/tls/refcnt": "0\n"}, moduleLoaded},
		{"other ULPs", map[string]string{"proc/sys/net/ipv4/tcp_available_ulp": "mptcp\n"}, moduleUnknown},
		{"on disk", map[string]string{"mod/modules.dep": "kernel/net/foo.ko:\nkernel/net/tls/tls.ko: kernel/x.ko\n"}, moduleOnDisk},
		{"on disk, compressed", map[string]string{"mod/modules.dep": "kernel/net/tls/tls.ko.xz:\n"}, moduleOnDisk},
		{"absent", map[string]string{"mod/modules.dep": "kernel/drivers/nottls.ko: kernel/tls.ko\n"}, moduleAbsent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := tlsModule(filepath.Join(dir, "proc"), filepath.Join(dir, "sys"), filepath.Join(dir, "mod"))
			if got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func testRings() *Rings {
	return NewRings(func() (*uring.Ring, error) { return uring.New(8) })
}

// TestRings: a conclusive answer is remembered, another is not.
func TestRings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		errno unix.Errno
		tries int
	}{{"usable", 0, 1}, {"forbidden", unix.EPERM, 1}, {"inconclusive", unix.EMFILE, 2}} {
		tries := 0
		rings := NewRings(func() (*uring.Ring, error) {
			if tries++; tt.errno == 0 {
				return uring.New(8)
			}
			return nil, os.NewSyscallError(setupCall, tt.errno)
		})
		first := rings.Feature()
		if again := rings.Feature(); again != first || first.Usable != (tt.errno == 0) || tries != tt.tries {
			t.Errorf("%s: %+v, %+v, with %d tries, want %d", tt.name, first, again, tries, tt.tries)
		}
	}
}

// TestProbe runs the probe on this kernel, whatever it can do: the report must
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
			t.Errorf("%s could not be asked: %s", name, f.Reason)
		}
	}
	watcher := cryptoapi.OpenWatcher()
	any := false
	for _, c := range r.Ciphers {
		if any = any || c.Usable; c.Usable != r.Supports(c.Suite) {
			t.Errorf("%s: usable %v, taken %v", c.Name, c.Usable, r.Supports(c.Suite))
		}
		a, picked := r.Selected(c.Suite)
		if now := watcher.Selected(c.Suite).Driver; now != a.Driver {
			t.Errorf("%s: %q is picked now, and a moment ago %q", c.Name, now, a.Driver)
		}
		if c.Usable && !picked {
			t.Errorf("kernel TLS took a key for %s, and /proc/crypto has nothing that it could use", c.Name)
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

func TestReadStatus(t *testing.T) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // low and high 32 bits
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	got := readStatus()
	if want := uint64(data[1].Effective)<<32 | uint64(data[0].Effective); got.capEff != want {
		t.Errorf("effective capabilities %#x, want %#x as capget says", got.capEff, want)
	}
	if got.seccomp < 0 || got.seccomp > seccompFilter {
		t.Errorf("seccomp mode %d, want 0 to %d", got.seccomp, seccompFilter)
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
