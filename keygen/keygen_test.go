package keygen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
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
	host, addresses := thisMachine()
	if isHostname(host) {
		names = append(names, host, strings.Split(host, ".")[0]+".local")
	}
	for _, a := range addresses {
		if a.IsGlobalUnicast() {
			names = append(names, a.String())
		}
	}
	for _, name := range names {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}

	const local = "localhost 127.0.0.1 ::1"
	many := make([]netip.Addr, maxAddresses+2)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	for _, test := range []struct {
		host      string
		addresses string
		want      string
		note      string // part of the only one
	}{
		{"Board", "192.0.2.1 127.0.0.1 fe80::1 2001:db8::1 fd00::1 10.0.0.1 169.254.1.1 ::1", "board board.local " + local + " 192.0.2.1 2001:db8::1 fd00::1 10.0.0.1", ""},
		{"board.example.com", "", "board.example.com board.local " + local, ""},
		{"board.local", "", "board.local board.local " + local, ""},
		{"localhost", "", local, ""},
		{"localhost.localdomain", "", "localhost.localdomain " + local, ""},
		{"", "", local, ""},
		{"my_board", "", "my_board my_board.local " + local, ""},
		{"my board", "", local, `the host name "my board" is omitted`},
		{"123", "", local, `the host name "123" is omitted`},
	} {
		var addresses []netip.Addr
		for _, a := range strings.Fields(test.addresses) {
			addresses = append(addresses, netip.MustParseAddr(a))
		}
		names, notes := defaultNames(test.host, addresses)
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.host, got, test.want)
		}
		if got := strings.Join(notes, "\n"); !strings.Contains(got, test.note) || (got == "") != (test.note == "") {
			t.Errorf("%s: note %q, want %q", test.host, got, test.note)
		}
		if _, err := parseNames(names); err != nil {
			t.Error(err)
		}
	}
	if names, notes := defaultNames("", many); len(names) != 3+maxAddresses || len(notes) != 1 || !strings.HasPrefix(notes[0], "2 addresses ") {
		t.Errorf("many addresses: %d names, notes %q", len(names), notes)
	}
}

// A name with an underscore is served, with a word about clients that refuse it.
func TestUnderscore(t *testing.T) {
	r, err := Create(t.TempDir(), []string{"my_board", "my-board"}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	cert := read(t, r)
	for _, name := range []string{"my_board", "my-board"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], `"my_board" has an underscore`) {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a b", "https://board", "board:443", "board.", "-a", "a-", "a..b", "1.2.3", "256.0.0.1",
		"fe80::1%eth0", "[::1]", "*", "*.com", "a.*.example.com", "größe", strings.Repeat("a", 64), strings.Repeat("a.", 130) + "a"} {
		dir := t.TempDir()
		_, err := Create(dir, []string{"board", name}, testTime)
		if err == nil || !strings.Contains(err.Error(), "write the name or address that clients connect to") {
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
	write := func(name, content string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644) }
	}
	all := func(steps ...func(string) error) func(string) error {
		return func(dir string) (err error) {
			for _, step := range steps {
				err = errors.Join(err, step(dir))
			}
			return err
		}
	}
	own, other := pair(t), pair(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	foreign := selfSigned(t, rsaKey) // a certificate that keygen would not make
	rsaPEM := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	encrypted := strings.ReplaceAll(own.key, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY") // as far as the label tells
	utf16 := strings.Join(strings.Split(own.key, ""), "\x00") + "\x00"
	der, _ := pem.Decode([]byte(own.key))
	const (
		repair = "; repair it, or move both files away first: nothing is overwritten"
		noKey  = "DIR/key.pem: file already exists: it is not a complete, unencrypted private key in PEM" + repair
	)
	for _, test := range []struct {
		name    string
		prepare func(dir string) error
		want    string
	}{
		{"pair", all(write("key.pem", own.key), write("cert.pem", own.certificate)),
			"DIR/key.pem and DIR/cert.pem: file already exists; use them, or move both away first: nothing is overwritten"},
		{"pair of another kind", all(write("key.pem", rsaPEM), write("cert.pem", foreign)),
			"DIR/key.pem and DIR/cert.pem: file already exists; use them, or move both away first: nothing is overwritten"},
		{"pair with text around it", all(write("key.pem", "Bag Attributes\n"+own.key), write("cert.pem", "subject=b\n"+own.certificate+"\n\n")),
			"DIR/key.pem and DIR/cert.pem: file already exists; use them, or move both away first: nothing is overwritten"},
		{"not a pair", all(write("key.pem", own.key), write("cert.pem", other.certificate)),
			"DIR/cert.pem: file already exists, and does not belong to DIR/key.pem; restore the right one, or move both away first: nothing is overwritten"},
		{"certificate", write("cert.pem", own.certificate),
			"DIR/cert.pem: file already exists, without its key, and is not overwritten; move it away first"},
		{"foreign certificate, empty key", all(write("key.pem", ""), write("cert.pem", foreign)),
			"DIR/cert.pem: file already exists, and its key DIR/key.pem is damaged; restore that key, or move both away first: nothing is overwritten"},
		{"text as key", write("key.pem", "mine"), noKey},
		{"text as certificate", write("cert.pem", "mine"),
			"DIR/cert.pem: file already exists: it is not a complete certificate in PEM" + repair},
		{"text as both", all(write("key.pem", "mine"), write("cert.pem", "mine")),
			noKey[:len(noKey)-len(repair)] + "\nDIR/cert.pem: file already exists: it is not a complete certificate in PEM" + repair},
		{"encrypted key", write("key.pem", encrypted), "DIR/key.pem: file already exists: its private key is encrypted" + repair},
		{"key of no known kind", write("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
			"DIR/key.pem: file already exists: its private key is of an unknown type" + repair},
		{"encrypted key, cut off", write("key.pem", encrypted[:100]), noKey},
		{"key encrypted by a header, cut off", write("key.pem", rsaPEM[:32]+"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nabcd"), noKey},
		{"key of another format", write("key.pem", "-----BEGIN OPENSSH PRIVATE KEY-----\nabcd"), noKey},
		{"key in DER", write("key.pem", string(der.Bytes)), noKey},
		{"key in UTF-16", write("key.pem", utf16), noKey},
		{"chain, cut off", all(write("key.pem", own.key), write("cert.pem", own.certificate+other.certificate[:200])),
			"DIR/cert.pem: file already exists: its last PEM block has no END line" + repair},
		{"key and certificate in one file, cut off", write("cert.pem", own.key[:100]), "DIR/cert.pem: file already exists: it is not a complete certificate in PEM" + repair},
		{"dangling link", func(dir string) error { return os.Symlink("nowhere", dir+"/key.pem") },
			"DIR/key.pem: file already exists: stat DIR/key.pem: no such file or directory" + repair},
		{"link to an empty key", all(write("real", ""), func(dir string) error { return os.Symlink("real", dir+"/key.pem") }), noKey},
		{"directory", func(dir string) error { return os.Mkdir(dir+"/cert.pem", 0o755) },
			"DIR/cert.pem: file already exists: it is not a regular file of at most 1 MiB" + repair},
		{"FIFO", func(dir string) error { return syscall.Mkfifo(dir+"/key.pem", 0o600) },
			"DIR/key.pem: file already exists: it is not a regular file of at most 1 MiB" + repair},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := test.prepare(dir); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			needed := Needed(dir)
			_, err := Create(dir, nil, testTime)
			if !errors.Is(err, fs.ErrExist) {
				t.Fatalf("error %v", err)
			}
			if needed == nil || needed.Error() != err.Error() {
				t.Errorf("Needed: %v, Create: %v", needed, err)
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != "keygen: "+test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if after := contents(t, dir); !reflect.DeepEqual(after, before) {
				t.Errorf("%v became %v", before, after)
			}
		})
	}
}

// A file that appears after the check is not overwritten either, nor removed.
func TestRace(t *testing.T) {
	for _, name := range []string{"key.pem", "cert.pem"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		d := &directory{path: dir, before: func(step, to string, _ []byte) {
			if step == "rename" && to == path {
				if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
					t.Error(err)
				}
			}
		}}
		if _, err := create(d, nil, testTime); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: error %v", name, err)
		}
		if got := contents(t, dir); len(got) != 1 || got[name] != "mine" {
			t.Errorf("%s: left %v", name, got)
		}
	}
	// Two runs at a time: the second one leaves the first one's files alone.
	dir := t.TempDir()
	d := &directory{path: dir, before: func(step, to string, _ []byte) {
		if step != "rename" || filepath.Base(to) != "key.pem" {
			return
		}
		if _, err := Create(dir, nil, testTime); err == nil || !strings.Contains(err.Error(), "another keygen run is writing") {
			t.Errorf("second run: %v", err)
		}
	}}
	r, err := create(d, nil, testTime)
	if err != nil {
		t.Fatal(err)
	}
	read(t, r)
}

func TestDirectories(t *testing.T) {
	top := t.TempDir()
	if _, err := Create("", nil, testTime); err == nil || !strings.Contains(err.Error(), "name the directory for") {
		t.Errorf("no directory: %v", err)
	}
	_, err := Create(filepath.Join(top, "a", "b"), nil, testTime)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "; create the directory "+filepath.Join(top, "a")+" first") {
		t.Errorf("no parent: %v", err)
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Create(filepath.Join(top, "file"), nil, testTime)
	if !errors.Is(err, syscall.ENOTDIR) || !strings.HasSuffix(err.Error(), "; name a directory") {
		t.Errorf("a file: %v", err)
	}
	if got := list(t, top); len(got) != 1 {
		t.Errorf("left %v", got)
	}
}

// A file that fails half-way (a full disk) leaves nothing, not even the directory that
// was made for it. The limit would hold for the test's own log, too, so it is a child's.
func TestNothingHalfWritten(t *testing.T) {
	if dir := os.Getenv("KEYGEN_CHILD"); dir != "" {
		for _, size := range []uint64{100, 300} { // within the key, within the certificate
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: 1 << 20}); err != nil {
				t.Fatal(err)
			}
			if _, err := Create(dir, nil, testTime); !errors.Is(err, syscall.EFBIG) {
				t.Errorf("%d bytes: error %v", size, err)
			}
		}
		return
	}
	top := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingHalfWritten$")
	cmd.Env = append(os.Environ(), "KEYGEN_CHILD="+filepath.Join(top, "new"))
	var out strings.Builder // through a pipe, which has no size
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
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
