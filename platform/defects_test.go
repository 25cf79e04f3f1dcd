package platform

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

func TestKernelVersion(t *testing.T) {
	for _, tt := range []struct{ release, build, want string }{
		{"6.6.3-gea3b1ed", "#1 SMP PREEMPT Tue Mar 5 2024", "6.6.3"},
		{"6.6.3-lts-next-gccf0a99701a7", "", "6.6.3"},
		{"6.1.36-lts-next", "", "6.1.36"},
		{"6.1.22+g5dd40c0ffa05", "", "6.1.22"},
		{"6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)", "6.1.76"},
		{"6.1.0-18-rt-arm64", "#1 SMP PREEMPT_RT Debian 6.1.76-1 (2024-02-01)", "6.1.76"},
		{"6.5.0-0.deb12.4-arm64", "#1 SMP Debian 6.5.10-1~bpo12+1 (2023-11-23)", "6.5.10"},
		{"6.12.9+deb13-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.9-1 (2025-01-10)", "6.12.9"},
		{"6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian", "6.1"},
		{"6.1.0-18-amd64", "", "6.1"},
		{"6.6.3", "#1 SMP Debian 6.1.76-1 (built on)", "6.6.3"}, // the builder's, of another series
		{"6.5.0-21-generic", "#21~22.04.1-Ubuntu SMP PREEMPT_DYNAMIC Fri Feb  9 13:32:52 UTC 2", "6.5"},
		{"6.8.0-rc3", "", "6.8-rc"},
		{"6.8-rc3-next", "", "6.8-rc"},
		{"6.8", "", "6.8"},
		{"6.8-custom", "", "6.8"},
		{"6.6.18.1-vendor", "", "6.6.18"},
		{"7.0.0-1-arm64", "", "7.0"},
		{"6.99999999999999999999.1", "", ""},
		{"6", "", ""},
		{"6.", "", ""},
		{".6.1", "", ""},
		{"6..1", "", ""},
		{"", "", ""},
		{"microsoft", "", ""},
	} {
		v, ok := kernelVersion(tt.release, tt.build)
		got := ""
		if ok {
			got = v.String()
		}
		if got != tt.want {
			t.Errorf("%q, %q: %q, want %q", tt.release, tt.build, got, tt.want)
		}
	}
}

// TestDefectsByVersion: each version has the defects that are not fixed in its series.
func TestDefectsByVersion(t *testing.T) {
	for _, tt := range []struct {
		release               string
		queue, count, ioUring bool
	}{
		{"5.15.200", true, true, true},
		{"6.1", true, true, true}, {"6.1.41", true, true, true}, {"6.1.42", true, true, false}, {"6.1.83", true, true, false}, {"6.1.84", false, true, false},
		{"6.1.168", false, true, false}, {"6.1.169", false, false, false}, {"6.1.192", false, false, false},
		{"6.2.16", true, true, true}, {"6.3.13", true, true, true},
		{"6.4", true, true, true}, {"6.4.6", true, true, true}, {"6.4.7", true, true, false}, {"6.4.16", true, true, false},
		{"6.5", true, true, false}, {"6.5.13", true, true, false},
		{"6.6.17", true, true, false}, {"6.6.18", false, true, false}, {"6.6.134", false, true, false}, {"6.6.135", false, false, false},
		{"6.7.5", true, true, false}, {"6.7.6", false, true, false},
		{"6.8-rc4", true, true, false}, {"6.8", false, true, false},
		{"6.12.49", false, true, false}, {"6.12.81", false, true, false}, {"6.12.82", false, false, false}, {"6.12.95", false, false, false},
		{"6.18.22", false, true, false}, {"6.18.23", false, false, false}, {"6.19.13", false, false, false},
		{"7.0-rc7", false, true, false}, {"7.0", false, false, false}, {"7.3.4", false, false, false},
	} {
		v, ok := parseVersion(tt.release)
		if !ok {
			t.Fatal(tt.release)
		}
		if got := [3]bool{defects[0].in(v), defects[1].in(v), defects[2].in(v)}; got != [3]bool{tt.queue, tt.count, tt.ioUring} {
			t.Errorf("%s: %v; want %v, %v, %v", tt.release, got, tt.queue, tt.count, tt.ioUring)
		}
	}
}

// TestRestrictedByVersion: only ciphers whose driver is asynchronous or not visible are
// restricted, and the original report does not change.
func TestRestrictedByVersion(t *testing.T) {
	sync := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-ce", Type: "aead", SelfTest: "passed"}
	caam := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed", Async: true, Hardware: true}
	inline := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "generic-gcm-aesni", Type: "aead", SelfTest: "passed", Async: true, Inline: true}
	for _, tt := range []struct {
		name   string
		kernel string
		gcm    []cryptoapi.Algorithm
		usable bool
	}{
		{"synchronous", "6.1.22", []cryptoapi.Algorithm{sync}, true},
		{"inline", "6.1.22", []cryptoapi.Algorithm{inline}, true},
		{"an engine", "6.1.22", []cryptoapi.Algorithm{caam}, false},
		{"an engine that is not selected", "6.1.22", []cryptoapi.Algorithm{sync, caam}, true},
		{"not visible", "6.1.22", nil, false},
		{"repaired", "6.1.169", []cryptoapi.Algorithm{caam}, true},
		{"not known", "x", []cryptoapi.Algorithm{caam}, true},
	} {
		yes := Feature{Usable: true}
		r := &Report{Kernel: tt.kernel, KernelTLS: yes, GCM: tt.gcm, Ciphers: []Cipher{
			{Suite: tls.TLS_AES_128_GCM_SHA256, Feature: yes, Verified: true}, {Suite: tls.TLS_CHACHA20_POLY1305_SHA256, Feature: Feature{Reason: "none"}},
		}}
		before := fmt.Sprintf("%+v", *r)
		got := r.Restricted()
		c := got.Ciphers[0]
		if c.Usable != tt.usable || c.Defective == tt.usable || c.Verified != tt.usable || got.KernelTLS.Usable != tt.usable || got.Ciphers[1].Defective {
			t.Errorf("%s: %+v", tt.name, got)
		}
		if !tt.usable && (!strings.Contains(c.Reason, "Linux 6.1.22") || !strings.Contains(c.Reason, "6.1.84, 6.6.18, 6.7.6, 6.8") || !strings.Contains(c.Remedy, "if your vendor has fixed this kernel without a change of its version, set crypto.kernel_fixes: [CVE-2024-26584, CVE-2026-31533]")) {
			t.Errorf("%s: %+v", tt.name, c)
		}
		if fmt.Sprintf("%+v", *r) != before {
			t.Errorf("%s: the report has changed: %+v", tt.name, r)
		}
		if again := got.Restricted(); again != got {
			t.Errorf("%s: restricted twice", tt.name)
		}
	}
}

// TestRestrictedBySendTest: the outcome of the test of sends decides on its defect instead of the
// version, both ways.
func TestRestrictedBySendTest(t *testing.T) {
	const text, vendor, tested = "io_uring never completes", "crypto.kernel_fixes", "(this kernel was tested)"
	caam := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed", Async: true, Hardware: true}
	for _, tt := range []struct {
		kernel string
		sends  SendTest
		gcm    []cryptoapi.Algorithm
		reason []string // parts of it; none: usable
		remedy []string
	}{
		{"6.1.22", SendsUntested, []cryptoapi.Algorithm{caam}, []string{"CVE-2024-26584", text}, []string{vendor}},
		{"6.1.22", SendsAnswered, []cryptoapi.Algorithm{caam}, []string{"CVE-2024-26584"}, []string{vendor}},
		{"6.1.22", SendsUnanswered, []cryptoapi.Algorithm{caam}, []string{"CVE-2024-26584", text, tested}, []string{vendor}},
		{"6.12.90", SendsUntested, []cryptoapi.Algorithm{caam}, nil, nil},
		{"6.12.90", SendsAnswered, []cryptoapi.Algorithm{caam}, nil, nil},
		{"6.12.90", SendsUnanswered, []cryptoapi.Algorithm{caam}, []string{"Linux 6.12.90 has", text, tested}, []string{"crypto.prefer"}},
		{"6.12.90", SendsUnanswered, nil, []string{text, tested}, []string{"use a later kernel"}},
		{"vendor", SendsUnanswered, []cryptoapi.Algorithm{caam}, []string{"Linux vendor has", text, tested}, []string{"crypto.prefer"}},
		{"vendor", SendsUntested, []cryptoapi.Algorithm{caam}, nil, nil},
	} {
		yes := Feature{Usable: true}
		r := &Report{Kernel: tt.kernel, KernelTLS: yes, Sends: tt.sends, GCM: tt.gcm, Ciphers: []Cipher{{Suite: tls.TLS_AES_128_GCM_SHA256, Feature: yes}}}
		c := r.Restricted().Ciphers[0]
		name := fmt.Sprintf("%s, %q: %+v", tt.kernel, tt.sends, c)
		if c.Usable != (tt.reason == nil) || c.Defective == c.Usable {
			t.Errorf("%s: usable %t", name, c.Usable)
		}
		for _, part := range tt.reason {
			if !strings.Contains(c.Reason, part) {
				t.Errorf("%s: the reason lacks %q", name, part)
			}
		}
		for _, part := range tt.remedy {
			if !strings.Contains(c.Remedy, part) {
				t.Errorf("%s: the remedy lacks %q", name, part)
			}
		}
		byVersion := strings.Contains(c.Reason, "CVE-2024-26584")
		if strings.Contains(c.Reason, text) != (len(tt.reason) > 0 && tt.sends != SendsAnswered) || strings.Contains(c.Remedy, vendor) != byVersion {
			t.Errorf("%s: the reason has a part too many or too few", name)
		}
	}
}

// TestKernelFixes: the operator can declare that a vendor has fixed a defect, and only that defect.
func TestKernelFixes(t *testing.T) {
	caam := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed", Async: true, Hardware: true}
	for _, tt := range []struct {
		kernel string
		fixes  KernelFixes
		known  string // defect that is left; "" if none is
	}{
		{"6.12.49", nil, "CVE-2026-31533"},
		{"6.12.49", KernelFixes{"CVE-2024-26584"}, "CVE-2026-31533"},
		{"6.12.49", KernelFixes{"CVE-2026-31533"}, ""},
		{"6.6.3", KernelFixes{"CVE-2026-31533"}, "CVE-2024-26584"},
		{"6.6.3", KnownDefects(), ""},
		{"6.1.22", KnownDefects(), "io_uring never completes"},
		{"6.12.49", KernelFixes{""}, "CVE-2026-31533"},
	} {
		yes := Feature{Usable: true}
		r := &Report{Kernel: tt.kernel, fixes: tt.fixes, KernelTLS: yes, GCM: []cryptoapi.Algorithm{caam}, Ciphers: []Cipher{{Suite: tls.TLS_AES_128_GCM_SHA256, Feature: yes}}}
		c := r.Restricted().Ciphers[0]
		if c.Usable != (tt.known == "") || !strings.Contains(c.Reason, tt.known) {
			t.Errorf("%s, %v: %+v, want %q", tt.kernel, tt.fixes, c, tt.known)
		}
		for _, cve := range tt.fixes {
			if cve != "" && strings.Contains(c.Reason, cve) {
				t.Errorf("%s, %v: %+v", tt.kernel, tt.fixes, c)
			}
		}
		if why := r.untestable(tls.TLS_AES_128_GCM_SHA256); (why != "") != strings.Contains(c.Reason, "CVE-2024-26584") {
			t.Errorf("%s, %v: not tested: %q", tt.kernel, tt.fixes, why)
		}
	}
}

// TestUntestable: on a kernel whose memory a test could corrupt, only drivers that are visible and
// synchronous are tested.
func TestUntestable(t *testing.T) {
	sync := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-ce", Type: "aead", SelfTest: "passed"}
	caam := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "gcm-aes-caam", Type: "aead", SelfTest: "passed", Async: true, Hardware: true}
	inline := cryptoapi.Algorithm{Name: ktls.AlgorithmGCM, Driver: "generic-gcm-aesni", Type: "aead", SelfTest: "passed", Async: true, Inline: true}
	const corrupts = "has a defect with such drivers that corrupts memory: kernel TLS frees"
	for _, tt := range []struct {
		kernel string
		gcm    []cryptoapi.Algorithm
		want   string
	}{
		{"6.1.22", []cryptoapi.Algorithm{caam}, "gcm-aes-caam is asynchronous, and Linux 6.1.22 " + corrupts},
		{"6.5.13", []cryptoapi.Algorithm{caam}, "gcm-aes-caam is asynchronous, and Linux 6.5.13 " + corrupts},
		{"6.1.22", nil, "the driver, which /proc/crypto does not show, may be asynchronous, and Linux 6.1.22 " + corrupts},
		{"6.1.22", []cryptoapi.Algorithm{sync, caam}, ""},
		{"6.1.22", []cryptoapi.Algorithm{inline}, ""},
		{"6.1.84", []cryptoapi.Algorithm{caam}, ""},
		{"vendor", []cryptoapi.Algorithm{caam}, ""},
	} {
		r := &Report{Kernel: tt.kernel, GCM: tt.gcm}
		if got := r.untestable(tls.TLS_AES_256_GCM_SHA384); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s, %v: %q, want %q", tt.kernel, tt.gcm, got, tt.want)
		}
	}
}
