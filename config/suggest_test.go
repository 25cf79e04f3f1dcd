package config

import (
	"slices"
	"strings"
	"testing"
)

// TestSuggestFindsEveryKey: every key, and every name that other servers have for a key, leads to
// that key; the table of synonyms has no unknown key and no ambiguous name.
func TestSuggestFindsEveryKey(t *testing.T) {
	r := &reader{cfg: new(Config)}
	all := keys("", r.schema())
	words := make(map[string]bool)
	for _, key := range all {
		words[lastWord(key)] = true
	}
	seen := make(map[string]string)
	for key, names := range synonyms() {
		if !slices.Contains(all, key) {
			t.Errorf("synonyms of %s, which is not a key", key)
		}
		for _, name := range strings.Fields(names) {
			if words[name] || seen[name] != "" || name != strings.ToLower(name) || strings.Contains(name, "-") {
				t.Errorf("%s for %s: is a key, belongs to another key (%s), or is not in lower case with underscores", name, key, seen[name])
			}
			seen[name] = key
			if got, want := r.suggest(name, []string{"x"}), "did you mean "+key+"?"; got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	// A key in the wrong section, and a misspelled key, are found too.
	for _, key := range all {
		if got := r.suggest(lastWord(key), []string{"x"}); !strings.Contains(got, key) {
			t.Errorf("%s elsewhere: %s", key, got)
		}
		if slip := lastWord(key) + "x"; len(slip) > 4 {
			if got := r.suggest(slip, []string{"x"}); !strings.HasPrefix(got, "did you mean ") {
				t.Errorf("%s elsewhere: %s", slip, got)
			}
		}
	}
	for _, test := range []struct{ file, want string }{
		{"ssl: {}\n", "did you mean tls?"},
		{"buffer: 2MiB\n", "did you mean limits.buffer?"},
		{"tls: {cert-file: x}\n", "did you mean certificate?"},
		{"SSL_Certificate: x\n", "did you mean tls.certificate?"},
		{"metrics: {port: 1}\n", "did you mean address?"},
		{"log: {level: warning}\n", "did you mean warn? Write debug, info, warn or error"},
		{"log: {level: inof}\n", "did you mean info? Write"},
		{"tls: {cipher: AES_GCM}\n", "did you mean aes-gcm? Write"},
		{"tls: {minimum_version: TLSv1.3}\n", `did you mean 1.3? Write "1.2" or "1.3"`},
		{"tls: {kernel: required}\n", "did you mean require? Write"},
		{"index: warning\n", "; write off or html"},
	} {
		if _, err := Parse([]byte(minimal+test.file), "f.yaml"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.file, err, test.want)
		}
	}
}

func TestNearestAllowsOneMistakeInThreeLetters(t *testing.T) {
	known := []string{"listen", "root", "tls", "log", "index", "limits"}
	for name, want := range map[string]string{
		"lsiten": "listen", "Listen": "listen", "rot": "root", "tsl": "tls", "lgo": "log",
		"limit": "limits", "idnex": "index", "tlog": "log", "xyz": "", "": "", "firmware": "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
