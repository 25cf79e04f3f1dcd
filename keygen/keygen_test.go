package keygen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("", 3600))

// read returns the certificate that Create left in dir, after checking that it
// and the key are a pair.
func read(t *testing.T, r Result) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(r.Certificate, r.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCreate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // of a careful first-boot script
	dir := filepath.Join(t.TempDir(), "new")
	r, err := Create(dir, []string{"Board.local", "192.0.2.1", "2001:db8::1", "board.local", "::ffff:192.0.2.1", "*.example.com"}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if r.Certificate != filepath.Join(dir, "cert.pem") || r.Key != filepath.Join(dir, "key.pem") {
		t.Errorf("paths %+v", r)
	}
	for path, want := range map[string]os.FileMode{r.Certificate: 0o644, r.Key: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want mode %v", path, info.Mode(), err, want)
		}
	}

	cert := read(t, r)
	if want := []string{"board.local", "*.example.com"}; !reflect.DeepEqual(cert.DNSNames, want) {
		t.Errorf("names %v, want %v", cert.DNSNames, want)
	}
	if got := cert.IPAddresses; len(got) != 2 || !got[0].Equal(net.IPv4(192, 0, 2, 1)) || !got[1].Equal(net.ParseIP("2001:db8::1")) {
		t.Errorf("addresses %v", got)
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key %T", cert.PublicKey)
	}
	if cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage != x509.KeyUsageDigitalSignature ||
		!reflect.DeepEqual(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("CA %v, usage %v, %v", cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage)
	}
	if cert.SerialNumber.Sign() <= 0 || cert.SerialNumber.BitLen() > 159 || cert.SerialNumber.BitLen() < 64 {
		t.Errorf("serial %v", cert.SerialNumber)
	}
	if cert.Subject.CommonName != "board.local" {
		t.Errorf("common name %q", cert.Subject.CommonName)
	}

	// What a person compares, computed from the files by another way.
	sum := sha256.Sum256(cert.Raw)
	if got := strings.ToLower(strings.ReplaceAll(r.Fingerprint, ":", "")); got != hex.EncodeToString(sum[:]) || len(r.Fingerprint) != 95 {
		t.Errorf("fingerprint %s of %x", r.Fingerprint, sum)
	}
	sum = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	if want := "sha256//" + base64.StdEncoding.EncodeToString(sum[:]); r.Pin != want {
		t.Errorf("pin %s, want %s", r.Pin, want)
	}

	// A client that trusts it accepts it, by each name.
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, name := range []string{"board.local", "a.example.com", "192.0.2.1", "[2001:db8::1]"} {
		if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: testTime}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two runs have nothing in common.
func TestUnique(t *testing.T) {
	a, err := Create(t.TempDir(), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Create(t.TempDir(), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if a.Pin == b.Pin || read(t, a).SerialNumber.Cmp(read(t, b).SerialNumber) == 0 {
		t.Errorf("two alike: %+v, %+v", a, b)
	}
}

func TestDefaultNames(t *testing.T) {
	r, err := Create(t.TempDir(), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	cert := read(t, r)
	names := []string{"localhost", "127.0.0.1", "[::1]"}
	if name, ok := hostname(); ok {
		names = append(names, name)
	}
	for _, name := range names {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a b", "https://board", "board:443", "board.", "-a", "a-", "a..b", "1.2.3", "256.0.0.1",
		"fe80::1%eth0", "[::1]", "*", "*.com", "a.*.example.com", "a_b", "größe", strings.Repeat("a", 64), strings.Repeat("a.", 130) + "a"} {
		dir := t.TempDir()
		_, err := Create(dir, []string{"board", name}, testTime)
		if err == nil || !strings.Contains(err.Error(), "write what clients connect to") {
			t.Errorf("%q: %v", name, err)
		}
		if left := list(t, dir); len(left) > 0 {
			t.Errorf("%q: left %v", name, left)
		}
	}
	long := strings.Repeat("a", 63) + ".local"
	h, err := parseNames([]string{long})
	if err != nil || h.commonName() != "uringhttpd" || h.dns[0] != long {
		t.Errorf("a long name: %v, %v", h, err)
	}
	if h, err := parseNames([]string{"::1"}); err != nil || h.commonName() != "::1" {
		t.Errorf("an address: %v, %v", h, err)
	}
}

func TestValidity(t *testing.T) {
	for _, test := range []struct{ now, from, to string }{
		{"2026-03-04T05:06:07Z", "2026-03-03T05:06:07Z", "2046-03-04T05:06:07Z"},
		{"2020-01-01T12:00:00Z", "2020-01-01T00:00:00Z", "2040-01-01T12:00:00Z"},
		{"2028-02-29T00:00:00Z", "2028-02-28T00:00:00Z", "2048-02-29T00:00:00Z"},
		{"2049-12-31T23:59:59Z", "2049-12-30T23:59:59Z", "2069-12-31T23:59:59Z"},
		{"1970-01-01T00:00:05Z", "2020-01-01T00:00:00Z", "2049-12-31T23:59:59Z"},
		{"2019-12-31T23:59:59Z", "2020-01-01T00:00:00Z", "2049-12-31T23:59:59Z"},
		{"2106-02-07T06:28:15Z", "2020-01-01T00:00:00Z", "2049-12-31T23:59:59Z"},
	} {
		now, err := time.Parse(time.RFC3339, test.now)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Create(t.TempDir(), nil, now)
		if err != nil {
			t.Fatal(err)
		}
		cert := read(t, r)
		from, to := cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339)
		if from != test.from || to != test.to {
			t.Errorf("made %s: %s to %s, want %s to %s", test.now, from, to, test.from, test.to)
		}
	}
}

// Nothing is overwritten, and nothing is added next to what is in the way.
func TestNeverOverwrites(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(dir string) error
		want    string
	}{
		{"both", func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/key.pem", []byte("mine"), 0o644), os.WriteFile(dir+"/cert.pem", []byte("mine"), 0o644))
		}, "keygen: DIR/key.pem and DIR/cert.pem: file already exists; use them, or move both away first: nothing is overwritten"},
		{"key", func(dir string) error { return os.WriteFile(dir+"/key.pem", []byte("mine"), 0o644) },
			"keygen: DIR/key.pem: file already exists, without its certificate, and is not overwritten; if an earlier run was interrupted, remove it"},
		{"certificate", func(dir string) error { return os.WriteFile(dir+"/cert.pem", []byte("mine"), 0o644) },
			"keygen: DIR/cert.pem: file already exists, without its key, and is not overwritten; move it away first"},
		{"dangling link", func(dir string) error { return os.Symlink("nowhere", dir+"/key.pem") },
			"keygen: DIR/key.pem: file already exists, without its certificate, and is not overwritten; if an earlier run was interrupted, remove it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := test.prepare(dir); err != nil {
				t.Fatal(err)
			}
			before := list(t, dir)
			_, err := Create(dir, nil, testTime)
			if !errors.Is(err, fs.ErrExist) {
				t.Fatalf("error %v", err)
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if after := list(t, dir); !reflect.DeepEqual(after, before) {
				t.Errorf("%v became %v", before, after)
			}
		})
	}
}

// A file that appears after the check is not overwritten either, nor removed.
func TestRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(file{path, 0o600, []byte("ours")}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v", err)
	}
	if data, err := os.ReadFile(path); string(data) != "mine" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestFolders(t *testing.T) {
	top := t.TempDir()
	if _, err := Create("", nil, testTime); err == nil || !strings.Contains(err.Error(), "name the one to write") {
		t.Errorf("no folder: %v", err)
	}
	_, err := Create(filepath.Join(top, "a", "b"), nil, testTime)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "; make the folder "+filepath.Join(top, "a")+" first") {
		t.Errorf("no parent: %v", err)
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Create(filepath.Join(top, "file"), nil, testTime)
	if !errors.Is(err, syscall.ENOTDIR) || !strings.HasSuffix(err.Error(), "; name a folder") {
		t.Errorf("a file: %v", err)
	}
	if got := list(t, top); len(got) != 1 {
		t.Errorf("left %v", got)
	}
}

// If the second file cannot be written, the first is gone, and so is the folder
// made for them.
func TestNothingHalfWritten(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "new")
	key := file{filepath.Join(dir, "key.pem"), 0o600, []byte("key")}
	certificate := file{filepath.Join(dir, "none", "cert.pem"), 0o644, []byte("certificate")}
	if err := writeBoth(dir, key, certificate); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if got := list(t, top); len(got) > 0 {
		t.Errorf("left %v", got)
	}

	// A file that fails half-way (a full disk) is removed as well.
	full := file{filepath.Join(top, "full"), 0o600, make([]byte, 1<<20)}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 4096
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	err := writeNew(full)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("error %v", err)
	}
	if got := list(t, top); len(got) > 0 {
		t.Errorf("left %v", got)
	}
}

// The files are what openssl and others expect: one block each, nothing else.
func TestPEM(t *testing.T) {
	r, err := Create(t.TempDir(), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{r.Key: "PRIVATE KEY", r.Certificate: "CERTIFICATE"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(data)
		if block == nil || block.Type != want || len(rest) > 0 || !strings.HasPrefix(string(data), "-----BEGIN "+want) {
			t.Errorf("%s: %.40q..., rest %q", path, data, rest)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"board.local", "*.example.com", "127.0.0.1", "::1", "::ffff:1.2.3.4", "fe80::1%1", "", "a..b", "-", "1.2.3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		h, err := parseNames([]string{name})
		if err != nil {
			return
		}
		if len(h.dns)+len(h.ip) != 1 || h.commonName() == "" || len(h.commonName()) > 64 {
			t.Fatalf("%q: %v", name, h)
		}
		// A client of that name is served: what is accepted has to match itself.
		cert := &x509.Certificate{DNSNames: h.dns, IPAddresses: h.ip}
		asked := strings.Replace(name, "*", "x", 1)
		if len(h.ip) > 0 {
			asked = h.ip[0].String()
		}
		if err := cert.VerifyHostname(asked); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	})
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
