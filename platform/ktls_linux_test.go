package platform

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

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
		{"ULP, unknown errno", stepULP, unix.ENOTCONN, tlsFacts{}, true, "ENOTCONN", "dmesg"},
		{"no cipher", stepKey, unix.ENOENT, tlsFacts{module: moduleLoaded}, false, "no gcm(aes)", "CONFIG_CRYPTO_GCM"},
		{"self-test failed", stepKey, unix.ELIBBAD, tlsFacts{module: moduleLoaded}, false, "self-test", "alg: "},
		{"no TLS 1.3", stepKey, unix.EINVAL, tlsFacts{module: moduleLoaded}, false, "does not support TLS_AES_128_GCM_SHA256", "6.1"},
		{"key, unknown errno", stepKey, unix.ENOMEM, tlsFacts{module: moduleLoaded}, true, "ENOMEM", "dmesg"},
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
