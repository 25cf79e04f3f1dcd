package config

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sample is the configuration that the documentation promises to be accepted.
const sample = `
listen:
  - address: ":443"        # host:port, [v6]:port, or systemd:NAME for a socket passed by systemd
    tls: true
  - address: ":80"         # plain HTTP, only if listed
root: /srv/firmware
tls:
  certificate: /etc/uringhttpd/cert.pem   # or credential:NAME (systemd LoadCredential)
  key: /etc/uringhttpd/key.pem
  client_ca: ""            # PEM bundle; set: a client certificate signed by it is required
  kernel: auto             # auto: kernel TLS where it can be had, else user-space TLS; require; off
  cipher: auto             # auto | aes-gcm | chacha20
  minimum_version: "1.2"   # "1.2" | "1.3"
crypto:
  prefer: keep             # keep | hardware | cpu | auto: who does gcm(aes), see doctor
limits:
  connections: 1024
  header_timeout: 10s      # the whole request head must be in by then
  idle_timeout: 60s        # between requests
  stall_timeout: 60s       # no byte acknowledged by the client for so long: the connection is reset
  buffer: 2MiB             # the most that the kernel may hold for a connection
  rate: 0                  # bytes a second and connection, 0 unlimited; 512KiB, 10MiB
index: html                # off | html (HTML for people, JSON for Accept: application/json)
log: {level: info, access: true}
metrics: {address: ""}     # host:port of a plain-HTTP listener with /metrics; "" none
`

// minimal sets what has no default.
const minimal = "listen: [{address: \":80\"}]\nroot: /srv/firmware\n"

// want is what sample says, written out once more.
func want() *Config {
	return &Config{
		File:   "f.yaml",
		Listen: []Listen{{Address: ":443", TLS: true}, {Address: ":80"}},
		Root:   "/srv/firmware",
		TLS: TLS{
			Certificate:    "/etc/uringhttpd/cert.pem",
			Key:            "/etc/uringhttpd/key.pem",
			Kernel:         KernelAuto,
			Cipher:         "auto",
			MinimumVersion: tls.VersionTLS12,
		},
		Crypto: Crypto{Prefer: "keep"},
		Limits: Limits{
			Connections:   1024,
			HeaderTimeout: 10 * time.Second,
			IdleTimeout:   time.Minute,
			StallTimeout:  time.Minute,
			Buffer:        2 << 20,
		},
		Index: IndexHTML,
		Log:   Log{Level: slog.LevelInfo, Access: true},
	}
}

// equal compares two configurations but for their lines.
func equal(t *testing.T, got, want *Config) {
	t.Helper()
	g, w := *got, *want
	g.lines, w.lines = nil, nil
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %+v\nwant %+v", g, w)
	}
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse([]byte(text), "f.yaml")
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return c
}

func TestSample(t *testing.T) {
	equal(t, mustParse(t, sample), want())
}

func TestExample(t *testing.T) {
	equal(t, mustParse(t, string(Example())), want())

	// Every key is shown.
	c := mustParse(t, string(Example()))
	for _, key := range keys("", (&reader{cfg: new(Config)}).schema()) {
		_, first := c.lines[strings.Replace(key, "[]", "[0]", 1)]
		_, second := c.lines[strings.Replace(key, "[]", "[1]", 1)]
		if !first && !second {
			t.Errorf("the example does not show %s", key)
		}
	}

	// The copy is the caller's.
	Example()[0] = 'x'
	if Example()[0] != '#' {
		t.Error("writing to the returned example changes the next one")
	}
}

// The sample's keys with a default may be left out, all at once.
func TestDefaults(t *testing.T) {
	w := want()
	w.Listen = []Listen{{Address: ":80"}}
	w.TLS.Certificate, w.TLS.Key = "", ""
	equal(t, mustParse(t, minimal), w)
}

// Every documented key is accepted, with a value other than its default where
// there is one that is built, and ends up in its field.
func TestKeys(t *testing.T) {
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	got := mustParse(t, `
listen:
  - {address: "[::1]:8443", tls: true}
  - {address: "systemd:plain", tls: false, public: true}
  - {address: "localhost:0", public: true}
  - {address: "127.0.0.1:0", public: true}
  - {address: "127.0.0.1:0", public: True}
root: firmware/../images
tls:
  certificate: credential:cert.pem
  key: keys/key.pem
  client_ca: ../ca.pem
  kernel: off
  cipher: auto
  minimum_version: '1.3'
crypto: {prefer: keep, kernel_fixes: [CVE-2026-31533]}
limits:
  connections: 1000000
  header_timeout: 1500ms
  idle_timeout: 24h
  stall_timeout: 1h30m
  buffer: 256KiB
  rate: 0KiB
index: off
log: {level: debug, access: False}
metrics: {address: ""}
`)
	equal(t, got, &Config{
		File: "f.yaml",
		Listen: []Listen{{"[::1]:8443", true, false}, {"systemd:plain", false, true}, {"localhost:0", false, true},
			{"127.0.0.1:0", false, true}, {"127.0.0.1:0", false, true}},
		Root: filepath.Join(dir, "images"),
		TLS: TLS{
			Certificate:    "credential:cert.pem",
			Key:            filepath.Join(dir, "keys/key.pem"),
			ClientCA:       filepath.Join(filepath.Dir(dir), "ca.pem"),
			Kernel:         KernelOff,
			Cipher:         "auto",
			MinimumVersion: tls.VersionTLS13,
		},
		Crypto: Crypto{Prefer: "keep", KernelFixes: []string{"CVE-2026-31533"}},
		Limits: Limits{
			Connections:   1000000,
			HeaderTimeout: 1500 * time.Millisecond,
			IdleTimeout:   24 * time.Hour,
			StallTimeout:  90 * time.Minute,
			Buffer:        256 << 10,
		},
		Index: IndexOff,
		Log:   Log{Level: slog.LevelDebug},
	})
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(file, []byte("listen: [{address: \":80\"}]\nroot: images\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "images"); c.Root != want || c.File != file {
		t.Errorf("root %q of file %q, want %q of %q", c.Root, c.File, want, file)
	}

	missing := filepath.Join(dir, "none.yaml")
	_, err = Load(missing)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if want := "config: open " + missing + ": no such file or directory; write that file, or name another with -config"; err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "name a readable YAML file") {
		t.Errorf("a directory: %v", err)
	}

	large := append([]byte(minimal), bytes.Repeat([]byte("#\n"), maxFileBytes/2)...)
	if err := os.WriteFile(file, large, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(file)
	if want := file + ":1: file: is larger than 64 KiB; name a configuration file"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
	if err := os.WriteFile(file, large[:maxFileBytes], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(file); err != nil {
		t.Errorf("64 KiB: %v", err)
	}
}

// A caller's problem gets the line of its key, or of the parent that is there.
func TestConfigProblem(t *testing.T) {
	c := mustParse(t, `# a comment
index: off
listen:
  - tls: true
    address: ":443"
  -
    address: ":80"
root: /srv
tls:
  certificate: c.pem
  key: k.pem
`)
	for _, test := range []struct {
		key  string
		line int
	}{
		{"listen", 3},
		{"listen[0]", 4},
		{"listen[0].address", 5},
		{"listen[0].tls", 4},
		{"listen[1].address", 7},
		{"listen[1].tls", 7},
		{"listen[7].address", 3},
		{"root", 8},
		{"tls.key", 11},
		{"tls.client_ca", 9},
		{"metrics.address", 2},
		{"", 2},
	} {
		got := c.Problem(test.key, "is wrong", "be right")
		want := Problem{File: "f.yaml", Line: test.line, Key: test.key, Wrong: "is wrong", Right: "be right"}
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if got, want := c.Problem("tls.key", "is wrong", "be right").Error(), "f.yaml:11: tls.key: is wrong; be right"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (&Config{File: "f"}).Problem("tls.key", "w", "r"); got.Line != 1 {
		t.Errorf("a configuration without lines: %v", got)
	}
}

// The kernel can be required for TLS 1.3 only.
func TestKernelRequired(t *testing.T) {
	for text, want := range map[string]uint16{
		"tls: {kernel: require}\n":                           tls.VersionTLS13,
		"tls: {kernel: require, minimum_version: \"1.3\"}\n": tls.VersionTLS13,
		"tls: {kernel: auto, minimum_version: \"1.2\"}\n":    tls.VersionTLS12,
		"tls: {kernel: auto}\n":                              tls.VersionTLS12,
	} {
		if got := mustParse(t, minimal+text).TLS.MinimumVersion; got != want {
			t.Errorf("%s: %x, want %x", text, got, want)
		}
	}
}

// Configurations that are allowed, and probably not meant.
func TestWarnings(t *testing.T) {
	const pair = "tls: {certificate: c, key: k}\n"
	for _, test := range []struct {
		name, file string
		want       []string
	}{
		{"plain", minimal, nil},
		{"sample", sample, nil},
		{"example", string(Example()), nil},
		{"no listener has TLS", minimal + pair, []string{
			"3: tls.certificate: is set, but no listener has TLS, so everything is served as plain HTTP; write tls: true in an entry of listen, or remove the section tls"}},
		{"only a key", minimal + "tls:\n  kernel: auto\n  certificate: ''\n  key: k\n", []string{
			"6: tls.key: is set, but no listener has TLS, so everything is served as plain HTTP; write tls: true in an entry of listen, or remove the section tls"}},
		{"kernel TLS is required", minimal + "tls:\n  kernel: require\n", []string{
			"4: tls.kernel: is set, but no listener has TLS, so everything is served as plain HTTP; write tls: true in an entry of listen, or remove the section tls"}},
		{"kernel TLS is off", minimal + "tls:\n  kernel: off\n", nil},
		{"TLS forgotten", "root: /a\nlisten:\n- {address: \":443\"}\n- {address: \":8443\"}\n- {address: \":444\", tls: true}\n- {address: \":80\"}\n" + pair, []string{
			"3: listen[0].address: is plain HTTP on port 443, where clients expect HTTPS; write tls: true in this entry, or another port",
			"4: listen[1].address: is plain HTTP on port 8443, where clients expect HTTPS; write tls: true in this entry, or another port"}},
		{"no TLS at all", "root: /a\nlisten: [{address: \":443\"}]\n", nil},
		{"for anybody", "root: /a\nlisten: [{address: \":443\", tls: true}, {address: \":80\", public: true}]\ntls: {certificate: c, key: k, client_ca: a}\nmetrics: {address: \":81\"}\n", nil},
	} {
		c := mustParse(t, test.file)
		var got []string
		for _, w := range c.Warnings {
			got = append(got, strings.TrimPrefix(w.String(), "f.yaml:"))
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
}
