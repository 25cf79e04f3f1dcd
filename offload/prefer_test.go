package offload

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"uringhttpd/config"
	"uringhttpd/offload/selftest"
	"uringhttpd/offload/statefile"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// TestPreferStateConditions: a stored measurement is valid for the machine on which it was made.
func TestPreferStateConditions(t *testing.T) {
	report := func(kernel string, drivers ...string) *platform.Report {
		r := &platform.Report{Kernel: kernel}
		for _, d := range drivers {
			r.GCM = append(r.GCM, cryptoapi.Algorithm{Driver: d})
		}
		return r
	}
	board := platform.Board{Model: "EVK", Compatible: []string{"fsl,imx8mp-evk", "fsl,imx8mp"}}
	m := &preferState{
		Kernel: "6.12.1", Model: "EVK", Compatible: board.Compatible, Drivers: []string{"caam", "ce", "made"}, Hardware: true,
		Bench: []selftest.Measurement{{Driver: "caam", Streams: 4}},
	}
	path := filepath.Join(t.TempDir(), "state", "measured.json")
	if err := statefile.Store(path, m); err != nil {
		t.Fatal(err)
	}
	if got, err := readMeasured(path); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("read %+v, %v; want %+v", got, err, m)
	}
	for _, tt := range []struct {
		name   string
		report *platform.Report
		board  platform.Board
		want   bool
	}{
		{"the same", report("6.12.1", "ce", "caam", "made"), board, true},
		{"a driver not used yet", report("6.12.1", "ce", "caam"), board, true},
		{"another kernel", report("6.12.2", "ce", "caam"), board, false},
		{"another driver", report("6.12.1", "ce", "caam", "new"), board, false},
		{"another tree", report("6.12.1", "ce", "caam"), platform.Board{Model: "EVK", Compatible: []string{"fsl,imx8mp"}}, false},
		{"another board", report("6.12.1", "ce", "caam"), platform.Board{Model: "EVK 2", Compatible: board.Compatible}, false},
	} {
		if got := m.valid(tt.report, tt.board); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readMeasured(path); err == nil {
		t.Error("half a file is read")
	}
}

// TestNotPreferred: the report names the reason why crypto.prefer has no effect.
func TestNotPreferred(t *testing.T) {
	alg := func(driver string, hardware bool) cryptoapi.Algorithm {
		return cryptoapi.Algorithm{Name: "gcm(aes)", Driver: driver, Type: "aead", SelfTest: "passed", Hardware: hardware}
	}
	engine, cores := alg("gcm-aes-caam", true), alg("gcm-aes-ce", false)
	known := platform.Feature{Usable: true}
	unknown := platform.Feature{Reason: "no NETLINK_CRYPTO", Remedy: "modprobe crypto_user"}
	for _, tt := range []struct {
		want    config.Prefer
		netlink platform.Feature
		gcm     []cryptoapi.Algorithm
		text    string // part of it
	}{
		{config.PreferKeep, unknown, nil, ""},
		{config.PreferAuto, unknown, nil, ""},
		{config.PreferHardware, known, []cryptoapi.Algorithm{engine, cores}, ""},
		{config.PreferCPU, known, []cryptoapi.Algorithm{cores, engine}, ""},
		{config.PreferCPU, known, []cryptoapi.Algorithm{engine, cores}, "crypto.prefer is cpu, but the kernel selects gcm-aes-caam: serve changes"},
		{config.PreferHardware, known, []cryptoapi.Algorithm{cores}, "crypto.prefer is hardware, but the kernel selects gcm-aes-ce: the kernel has no such driver"},
		{config.PreferHardware, unknown, []cryptoapi.Algorithm{cores}, "no NETLINK_CRYPTO; modprobe crypto_user"},
		{config.PreferHardware, known, nil, "the kernel selects no driver"},
		{config.PreferCPU, known, []cryptoapi.Algorithm{engine}, "serve changes this"},
	} {
		r := &platform.Report{Netlink: tt.netlink, GCM: tt.gcm, Ciphers: []platform.Cipher{{Suite: tls.TLS_AES_128_GCM_SHA256}}}
		if got := NotPreferred(tt.want, r); !strings.Contains(got, tt.text) || tt.text == "" && got != "" {
			t.Errorf("%s: %q, want %q in it", tt.want, got, tt.text)
		}
	}
}

// TestPreferRejectsRegression: a driver takes the place of another only if it was found right.
func TestPreferRejectsRegression(t *testing.T) {
	const a128, a256 = tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384
	wrong := errors.New("record 1 is encrypted wrongly")
	right := platform.Verdicts{a128: {}, a256: {}}
	for _, tt := range []struct {
		name          string
		before, after platform.Verdicts
		want          error
	}{
		{"right", right, right, nil},
		{"wrong", right, platform.Verdicts{a128: {Err: wrong}, a256: {}}, errWrong},
		{"wrong with the other key", right, platform.Verdicts{a128: {}, a256: {Err: wrong}}, errWrong},
		{"right, for one that was wrong", platform.Verdicts{a128: {Err: wrong}, a256: {Err: wrong}}, right, nil},
		{"refuses a key", right, platform.Verdicts{a128: {}}, errUntested},
		{"refused before, too", platform.Verdicts{a128: {}}, platform.Verdicts{a128: {}}, nil},
		{"not tested", right, platform.Verdicts{}, errUntested},
		{"not tested, ever", platform.Verdicts{}, platform.Verdicts{}, errUntested},
		{"ChaCha20 alone", right, platform.Verdicts{tls.TLS_CHACHA20_POLY1305_SHA256: {}}, errUntested},
	} {
		if err := regression(tt.before, tt.after); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestPreferRejectsDefect: a driver with which the kernel has a defect is not preferred.
func TestPreferRejectsDefect(t *testing.T) {
	ok := &platform.Report{Ciphers: []platform.Cipher{{Suite: suiteGCM, Feature: platform.Feature{Usable: true}}, {Suite: suiteChaCha, Defective: true}}}
	if err := gcmDefect(ok); err != nil {
		t.Errorf("a sound driver: %v", err)
	}
	bad := &platform.Report{Ciphers: []platform.Cipher{{Suite: suiteGCM, Defective: true, Feature: platform.Feature{Reason: "Linux has a defect"}}}}
	err := gcmDefect(bad)
	if !errors.Is(err, errDefective) || errors.Is(err, errWrong) || !strings.Contains(err.Error(), "Linux has a defect") {
		t.Errorf("a defect: %v", err)
	}
}
