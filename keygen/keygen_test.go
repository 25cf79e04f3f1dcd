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

// read returns the certificate of r. It fails the test if certificate and key are not a pair.
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

// TestCreateWritesKeyAndCertificate checks modes, names, usages, fingerprint and pin.
func TestCreateWritesKeyAndCertificate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // as in a cautious first-boot script
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

	// Fingerprint and pin are computed from the files independently.
	sum := sha256.Sum256(cert.Raw)
	if got := strings.ToLower(strings.ReplaceAll(r.Fingerprint, ":", "")); got != hex.EncodeToString(sum[:]) || len(r.Fingerprint) != 95 {
		t.Errorf("fingerprint %s of %x", r.Fingerprint, sum)
	}
	sum = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	if want := "sha256//" + base64.StdEncoding.EncodeToString(sum[:]); r.Pin != want {
		t.Errorf("pin %s, want %s", r.Pin, want)
	}

	// A client that trusts the certificate verifies it by each name.
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, name := range []string{"board.local", "a.example.com", "192.0.2.1", "[2001:db8::1]"} {
		if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: testTime}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCreateNeverRepeatsKeyOrSerial compares two runs.
func TestCreateNeverRepeatsKeyOrSerial(t *testing.T) {
	a, err := Create(t.TempDir(), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Create(t.TempDir(), nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if a.Pin == b.Pin || read(t, a).SerialNumber.Cmp(read(t, b).SerialNumber) == 0 {
		t.Errorf("same key or serial number: %+v, %+v", a, b)
	}
}

// TestValidityFollowsThePlausibleClock: a clock outside 2020 to 2049 is wrong, and the certificate
// is then valid for that whole period.
func TestValidityFollowsThePlausibleClock(t *testing.T) {
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

// TestFilesHaveOnePEMBlock: each file has one PEM block, as openssl writes it, and nothing else.
func TestFilesHaveOnePEMBlock(t *testing.T) {
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
