package config

import (
	"errors"
	"strings"
	"testing"
)

// TestCRLFCountsAsOneLineEnd also starts the file with a byte order mark.
func TestCRLFCountsAsOneLineEnd(t *testing.T) {
	_, err := Parse([]byte("\ufeff"+strings.ReplaceAll(minimal+"index: x\n", "\n", "\r\n")), "f.yaml")
	if want := `f.yaml:3: index: "x" is not a valid value; write off or html`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

// TestProblemsOfLargeFilesAreShort parses files of the maximum size that are expensive to
// parse. Each problem stays below 1000 bytes.
func TestProblemsOfLargeFilesAreShort(t *testing.T) {
	for name, text := range map[string]string{
		"keys":     strings.Repeat("a:\n", maxFileBytes/3),
		"lines":    strings.Repeat(strings.Repeat("{", 30)+"\n", 500),
		"brackets": "a: " + strings.Repeat("[", maxFileBytes-3),
		"one key":  strings.Repeat("a", maxFileBytes-3) + ": b",
		"one text": "root: " + strings.Repeat("a", maxFileBytes-6),
	} {
		_, err := Parse([]byte(text), "f.yaml")
		var problems Problems
		if !errors.As(err, &problems) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, p := range problems {
			if len(p.String()) > 1000 {
				t.Errorf("%s: a problem of %d bytes", name, len(p.String()))
			}
		}
	}
}
