package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"uringhttpd/ktls"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
)

func TestDoctorStatusFollowsTheReport(t *testing.T) {
	_, configure := site(t)
	var out, errs bytes.Buffer
	status := run([]string{"doctor", "-json", "-config", configure(good)}, &out, &errs)
	var report struct {
		Board     *platform.Board
		IOURing   struct{ Usable bool } `json:"io_uring"`
		KernelTLS struct{ Usable bool } `json:"kernel_tls"`
		Verdict   string
		Status    int
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v in %q, %q", err, out.String(), errs.String())
	}
	want := exitFailed
	switch {
	case !report.IOURing.Usable:
		want = exitUsage
	case report.KernelTLS.Usable:
		want = exitOK
	}
	if status != want || report.Status != status || report.Verdict == "" || report.Board == nil || report.Board.Engines == nil {
		t.Errorf("status %d, want %d, in %+v", status, want, report)
	}
}

// TestDoctorReportsWithoutConfiguration: doctor reports on the machine even if the configuration
// is invalid or missing.
func TestDoctorReportsWithoutConfiguration(t *testing.T) {
	_, configure := site(t)
	for _, tt := range []struct {
		name, file string
		wrong      bool
		out        string // after "serve: "
	}{
		{"wrong", configure("index: none\n"), true, `the configuration is wrong: .*:1: index: "none" is not a valid value`},
		{"missing", "/nonexistent/u.yaml", true, `the configuration is wrong: config: open /nonexistent/u.yaml: no such file`},
	} {
		var out, errs bytes.Buffer
		status := run([]string{"doctor", "-config", tt.file}, &out, &errs)
		if !regexp.MustCompile(`(?s)^board: .*\nio_uring: .*\nserve: `+tt.out).MatchString(out.String()) || status != exitUsage || errs.Len() == 0 {
			t.Errorf("%s: status %d, %s%s", tt.name, status, out.String(), errs.String())
		}
	}
}

// TestSelftestSkipsUntestableDrivers: selftest does not test a driver whose test could corrupt
// memory, and reports the suite as not tested.
func TestSelftestSkipsUntestableDrivers(t *testing.T) {
	tester := selftest.Tester{Untestable: func(_ context.Context, suite uint16) string {
		if suite == tls.TLS_CHACHA20_POLY1305_SHA256 {
			return ""
		}
		return "it corrupts memory"
	}}
	var out, errs bytes.Buffer
	status := testCiphers(tester, selftest.WriteText(&out), &errs)
	for _, suite := range ktls.Suites() {
		line := suite.Name() + ": not tested: it corrupts memory\n"
		if strings.Contains(out.String(), line) != (suite.Cipher != ktls.ChaCha20Poly1305) {
			t.Errorf("%q in %q", line, out.String())
		}
	}
	if status != exitFailed || errs.Len() > 0 {
		t.Errorf("status %d, %q", status, errs.String())
	}
}
