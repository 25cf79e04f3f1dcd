package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uringhttpd/config"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// TestStatusByVerdict: the exit status and the verdict follow from the machine and the
// configuration.
func TestStatusByVerdict(t *testing.T) {
	usable := platform.Feature{Usable: true}
	missing := platform.Feature{Reason: "it is missing", Remedy: "install it"}
	for _, tt := range []struct {
		name              string
		ioURing, kernel   platform.Feature
		prefer            config.Prefer
		unread            string
		err               error
		status            Status
		verdict, complain string // parts
	}{
		{"ready", usable, usable, config.PreferKeep, "", nil, Ready, "kernel TLS is used, with ", ""},
		{"no kernel TLS", usable, missing, config.PreferKeep, "", nil, Degraded, "kernel TLS is not used: it is missing; install it", ""},
		{"no io_uring", missing, usable, config.PreferKeep, "", nil, Unusable, "io_uring cannot be used: it is missing; install it", ""},
		{"another driver preferred", usable, usable, config.PreferHardware, "", nil, Degraded, "crypto.prefer is hardware, but the kernel selects gcm-aes-ce", ""},
		{"a wrong configuration", usable, usable, config.PreferKeep, "", errors.New("f.yaml:1: root: no\nf.yaml:2: x"), Unusable, "the configuration is wrong: f.yaml:1: root: no. f.yaml:2: x", "f.yaml:1: root: no"},
		{"an unreadable configuration", usable, usable, config.PreferKeep, "permission denied", nil, Ready, "This is for the default configuration: permission denied", ""},
	} {
		cfg, err := config.Parse(config.Example(), "example")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Crypto.Prefer = tt.prefer
		r := Report{Report: &platform.Report{
			IOURing: tt.ioURing, KernelTLS: tt.kernel, Netlink: usable, AESInstructions: true,
			GCM: []cryptoapi.Algorithm{{Name: "gcm(aes)", Driver: "gcm-aes-ce", Type: "aead", SelfTest: "passed"}},
		}}
		var complaints strings.Builder
		r.judge(t.Context(), nil, &configuration{cfg, tt.unread, tt.err}, &complaints)
		if r.Status != tt.status || !strings.Contains(r.Verdict, tt.verdict) || strings.Contains(r.Verdict, "\n") {
			t.Errorf("%s: status %d, %q; want %d, %q", tt.name, r.Status, r.Verdict, tt.status, tt.verdict)
		}
		if !strings.Contains(complaints.String(), tt.complain) || tt.complain == "" && complaints.Len() > 0 {
			t.Errorf("%s: standard error has %q, want %q", tt.name, complaints.String(), tt.complain)
		}
	}
}

// TestReadConfigFallsBack: without a usable file the default configuration is used, and the error is
// kept unless the file may be missing.
func TestReadConfigFallsBack(t *testing.T) {
	dir := t.TempDir()
	wrong := filepath.Join(dir, "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("shininess: 7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{wrong, filepath.Join(dir, "missing.yaml")} {
		c := readConfig(path)
		if c.Config == nil || c.err == nil || c.unread != "" {
			t.Errorf("%s: got %+v", filepath.Base(path), c)
		}
	}
}
