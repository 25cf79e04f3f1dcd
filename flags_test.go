package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
)

// TestHelpHidesInternalOptions: the help of each command begins with a sentence and lists all
// options except internal ones.
func TestHelpHidesInternalOptions(t *testing.T) {
	for _, tt := range []struct{ command, options string }{
		{"serve", "-config -restore"}, {"check", "-config"}, {"doctor", "-bench -config -driver -json"},
		{"selftest", "-json"}, {"keygen", "-name -needed -out"}, {"version", "-json"},
	} {
		for _, ask := range []string{"-h", "--help"} {
			var out, errs bytes.Buffer
			if status := run([]string{tt.command, ask}, &out, &errs); status > exitOK || errs.Len() > 0 {
				t.Errorf("%s %s: status %d, %s", tt.command, ask, status, errs.String())
			}
			if !regexp.MustCompile(`^[A-Z].*\.\n(?:.*\.\n)?\nusage: uringhttpd ` + tt.command + ` \[options\]\n`).MatchString(out.String()) {
				t.Errorf("%s %s: %s", tt.command, ask, out.String())
			}
			options := strings.TrimSpace(strings.Join(regexp.MustCompile(`(?m)^  -\w+`).FindAllString(out.String(), -1), ""))
			if got := strings.Join(strings.Fields(options), " "); got != tt.options {
				t.Errorf("%s %s shows %q, want %q", tt.command, ask, got, tt.options)
			}
		}
	}
	// The help after an unknown option hides internal options too.
	var errs bytes.Buffer
	if status := run([]string{"selftest", "-x"}, io.Discard, &errs); status != exitUsage || strings.Contains(errs.String(), "-driver") || !strings.Contains(errs.String(), "usage:") {
		t.Errorf("status %d, %s", status, errs.String())
	}
}
