package service

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uringhttpd/config"
)

// Files that openssl creates and crypto/x509 cannot create.
const (
	ed448Key = `-----BEGIN PRIVATE KEY-----
MEcCAQAwBQYDK2VxBDsEOXsX0Ce7zF7qCOXU8UYPlUVKDabcranqDQrYqGVhBkXj
Q/43FCa2r4YG6QAj/bSOFB2XDQ78JcHlgg==
-----END PRIVATE KEY-----
`
	ed448Certificate = `-----BEGIN CERTIFICATE-----
MIIBiDCCAQigAwIBAgIUAvNaW5KPmM1SX2MzxF+fOlOrEtcwBQYDK2VxMAwxCjAI
BgNVBAMMAXgwIBcNMjYxMTI4MjAyOTQwWhgPMjA4MTA4MzEyMDI5NDBaMAwxCjAI
BgNVBAMMAXgwQzAFBgMrZXEDOgDy2jRxejDimijRCV0pkpBJtS5sWtwf6X8CZ+Wm
jZ2wIuHuWZLBt+bYkLm3tiI0GGpf0pKlaZVSQACjYTBfMB0GA1UdDgQWBBT02gYN
nSJZwZc8lq7+6oSy5XIYdzAfBgNVHSMEGDAWgBT02gYNnSJZwZc8lq7+6oSy5XIY
dzAPBgNVHRMBAf8EBTADAQH/MAwGA1UdEQQFMAOCAXgwBQYDK2VxA3MA3e196G6W
j5fAlM+1sKvWmYHKodTFAmPNagr5CAfhDQCkWAKI0DUTowpV8MPw9ck+hIdN4gaW
57+AIwu5/8c9v+JaYSLlQozZ+/8pjIfErhEumw/21qWmE3hiIgKv61vhJMpS1yq0
Ea2gCTJ495Qelw0A
-----END CERTIFICATE-----
`
)

// A pki creates certificates. The maps have them, and their keys, by name.
type pki struct {
	t      *testing.T
	keys   map[string]crypto.Signer
	certs  map[string]*x509.Certificate
	serial int64
}

func newKey(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "p224":
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case "rsa1024":
		key, err = rsa.GenerateKey(rand.Reader, 1024)
	case "rsa2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// make creates a certificate for name, signed by issuer, or self-signed if both are equal.
func (p *pki) make(name, issuer, kind string, change func(*x509.Certificate)) {
	p.t.Helper()
	p.serial++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(p.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(c)
	}
	key := newKey(p.t, kind)
	parent, signer := c, key
	if issuer != name {
		parent, signer = p.certs[issuer], p.keys[issuer]
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.certs[name], err = x509.ParseCertificate(der); err != nil {
		p.t.Fatal(err)
	}
	p.keys[name] = key
}

// cert returns certificates in PEM, in order.
func (p *pki) cert(names ...string) string {
	var b bytes.Buffer
	for _, n := range names {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: p.certs[n].Raw})
	}
	return b.String()
}

func (p *pki) key(name string) string {
	der, err := x509.MarshalPKCS8PrivateKey(p.keys[name])
	if err != nil {
		p.t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func block(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

func authority(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }

func forBoard(c *x509.Certificate) { c.DNSNames = []string{"board"} }

func newPKI(t *testing.T) *pki {
	p := &pki{t: t, keys: map[string]crypto.Signer{}, certs: map[string]*x509.Certificate{}}
	p.make("root", "root", "", authority)
	p.make("other root", "other root", "", authority)
	p.make("intermediate", "root", "", authority)
	p.make("leaf", "intermediate", "", forBoard)
	return p
}

// openPEM writes the three files and opens a configuration that names them. It returns the
// problems and warnings, without the directory in paths, and the Opened, nil if there are problems.
func openPEM(t *testing.T, certificate, key, clientCA string) (problems, warnings []string, opened *Opened) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "listen: [{address: \"127.0.0.1:0\", tls: true}]\nroot: root\ntls:\n"
	for _, f := range []struct{ key, content string }{{"certificate", certificate}, {"key", key}, {"client_ca", clientCA}} {
		file := f.key
		if f.key == "key" && key == certificate {
			file = "certificate" // one file for both
		}
		if f.key == "client_ca" && clientCA == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(f.content), 0o600); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("  %s: %s\n", f.key, file)
	}
	return openText(t, dir, text)
}

func openText(t *testing.T, dir, text string) (problems, warnings []string, opened *Opened) {
	t.Helper()
	cfg, err := config.Parse([]byte(text), filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err = Open(cfg)
	lines := func(ps config.Problems) (out []string) {
		for _, p := range ps {
			out = append(out, strings.ReplaceAll(p.String(), dir+"/", ""))
		}
		return out
	}
	warnings = lines(opened.Warnings)
	if err == nil {
		opened.Close()
		return nil, warnings, opened
	}
	var ps config.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("error %v, want problems", err)
	}
	return lines(ps), warnings, nil
}

// match compares lines with their expected prefixes.
func match(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("%s %d: nothing, want %s", what, i, want[i])
		case i >= len(want):
			t.Errorf("%s %d: %s, want nothing", what, i, got[i])
		case !strings.HasPrefix(got[i], want[i]):
			t.Errorf("%s %d\ngot  %s\nwant %s", what, i, got[i], want[i])
		}
	}
}
