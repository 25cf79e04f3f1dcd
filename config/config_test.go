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

// sample has every key. Later versions must still accept it.
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

// minimal has only the required keys of plain HTTP.
const minimal = "listen: [{address: \":80\"}]\nroot: /srv/firmware\n"

// want returns the Config for sample.
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
			Cache:         CacheAuto,
			StallTimeout:  time.Minute,
			Buffer:        2 << 20,
		},
		Index: IndexHTML,
		Log:   Log{Level: slog.LevelInfo, Access: true},
	}
}

// equal compares two configurations, without their line numbers.
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

func TestParseAcceptsTheSample(t *testing.T) {
	equal(t, mustParse(t, sample), want())
}

func TestExampleHasTheDefaults(t *testing.T) {
	equal(t, mustParse(t, string(Example())), want())

	// The caller owns the returned copy.
	Example()[0] = 'x'
	if Example()[0] != '#' {
		t.Error("writing to the returned example changes the next one")
	}
}

// TestDefaultsMayBeOmitted omits every key that has a default.
func TestDefaultsMayBeOmitted(t *testing.T) {
	w := want()
	w.Listen = []Listen{{Address: ":80"}}
	w.TLS.Certificate, w.TLS.Key = "", ""
	equal(t, mustParse(t, minimal), w)
}

// TestParseSetsEveryField sets each key to a value other than its default, if the value is
// implemented, and compares the whole Config.
func TestParseSetsEveryField(t *testing.T) {
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
  cache: 3MiB
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
			Cache:         3 << 20,
		},
		Index: IndexOff,
		Log:   Log{Level: slog.LevelDebug},
	})
}

func TestLoadReadsFile(t *testing.T) {
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
