package config

import (
	"bytes"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzParse: Parse returns either a Config within its documented ranges or Problems, each on one
// line of text and with a line number within the file.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", sample, minimal, string(Example()),
		minimal + "limits: {connections: 0x10, idle_timeout: 5, rate: 512KiB}\n",
		minimal + "a: &a [*a]\n<<: {}\n", "? [a]\n: b\n", "root: \"a\nb\n", "root: |\n  a\n\n", "-\n- -\n",
		"%YAML 1.1\n---\nroot: a\n...\n---\n", "\ufeffroot: x\r\n", "root: !!binary eA==\n", "a: {b: [\n\tc\n", "root: >-\n", "!x\nroot: a\n", "&x {root: a}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data, "/dir/f.yaml")
		if err != nil {
			checkProblems(t, data, err)
			return
		}
		checkValid(t, c)
	})
}

func checkProblems(t *testing.T, data []byte, err error) {
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("not problems: %v", err)
	}
	before := 1
	for _, p := range problems {
		if p.Line < before || p.Line > bytes.Count(data, []byte("\n"))+1 {
			t.Errorf("line %d after %d, not within the file: %s", p.Line, before, p)
		}
		before = p.Line
		if p.Key == "" || p.Wrong == "" || p.Right == "" || p.File != "/dir/f.yaml" {
			t.Errorf("incomplete: %#v", p)
		}
		text := p.String()
		if unquoted := strings.Trim(strconv.QuoteToGraphic(text), `"`); strings.ContainsAny(text, "\r\n") || strings.Contains(unquoted, `\x`) && !strings.Contains(text, `\x`) {
			t.Errorf("not one line of text: %q", text)
		}
	}
}

func checkValid(t *testing.T, c *Config) {
	if len(c.Listen) == 0 || len(c.Listen) > maxListeners || !filepath.IsAbs(c.Root) {
		t.Errorf("listen %v, root %q", c.Listen, c.Root)
	}
	for i, l := range c.Listen {
		if l.Address == "" || l.TLS && (c.TLS.Certificate == "" || c.TLS.Key == "") {
			t.Errorf("listen[%d] is %+v with %+v", i, l, c.TLS)
		}
	}
	for _, path := range []string{c.TLS.Certificate, c.TLS.Key, c.TLS.ClientCA} {
		if path != "" && !filepath.IsAbs(path) && !strings.HasPrefix(path, CredentialPrefix) {
			t.Errorf("path %q", path)
		}
	}
	for _, d := range []time.Duration{c.Limits.HeaderTimeout, c.Limits.IdleTimeout, c.Limits.StallTimeout} {
		if d <= 0 || d > 24*time.Hour {
			t.Errorf("time %v", d)
		}
	}
	if c.Limits.Connections < 1 || c.Limits.Connections > 1_000_000 {
		t.Errorf("connections %d", c.Limits.Connections)
	}
	if c.TLS.Cipher != CipherAuto && c.TLS.Cipher != CipherAESGCM && c.TLS.Cipher != CipherChaCha20 {
		t.Errorf("cipher %q", c.TLS.Cipher)
	}
	if c.TLS.MinimumVersion != versionTLS12 && c.TLS.MinimumVersion != versionTLS13 ||
		c.Crypto.Prefer != "keep" || c.Limits.Rate != 0 || c.Metrics.Address != "" {
		t.Errorf("not implemented: %+v", c)
	}
}
