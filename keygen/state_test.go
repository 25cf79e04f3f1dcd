package keygen

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A pemPair is the content of a key file and a certificate file.
type pemPair struct{ key, certificate string }

// none represents a missing file.
const none = "none"

// pair returns the files that Create makes.
func pair(t *testing.T) pemPair {
	t.Helper()
	dir := t.TempDir()
	if _, err := Create(dir, []string{"board"}, testTime); err != nil {
		t.Fatal(err)
	}
	all := contents(t, dir)
	return pemPair{all["key.pem"], all["cert.pem"]}
}

// selfSigned returns a certificate in PEM that differs from those of Create.
func selfSigned(t *testing.T, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "b"}, NotBefore: testTime, NotAfter: testTime.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// contents returns the contents of the files in a directory, by file name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, name := range list(t, dir) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			all[name] = fmt.Sprint(err)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

// memoryDir returns a temporary directory, in memory if possible: thousands of runs that sync their
// files take minutes on a disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "keygen")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// checkRepair runs keygen as the next boot does. The result must be a complete pair without
// temporary files, and the content of every other file must still exist.
func checkRepair(t *testing.T, name, dir string) {
	t.Helper()
	before := map[string]string{}
	if _, err := os.Stat(dir); err == nil {
		before = contents(t, dir)
	}
	if Needed(dir) == nil {
		if _, err := Create(dir, []string{"board"}, testTime); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	read(t, Result{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")})
	if err := Needed(dir); err == nil {
		t.Fatalf("%s: the pair would be replaced", name)
	}
	after := contents(t, dir)
	var kept []string
	for _, content := range after {
		kept = append(kept, content)
	}
	for file, content := range before {
		if !strings.HasPrefix(file, temporaryPrefix) && !slices.Contains(kept, content) {
			t.Fatalf("%s: %s is lost: %q", name, file, content)
		}
	}
	for file := range after {
		if strings.HasPrefix(file, temporaryPrefix) && Needed(dir) == nil {
			t.Fatalf("%s: %s is left", name, file)
		}
	}
	if key := before["key.pem"]; strings.HasSuffix(key, "-----END PRIVATE KEY-----\n") && after["key.pem"] != key {
		t.Fatalf("%s: a whole key was replaced", name)
	}
}

// put makes dir and writes both files to it. If a content is none, it writes no such file.
func put(t *testing.T, dir, key, certificate string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"key.pem": key, "cert.pem": certificate} {
		if content == none {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTornFilesAreRepaired truncates either file to each length, with each state of the other file.
// Create must repair the pair.
func TestTornFilesAreRepaired(t *testing.T) {
	top := memoryDir(t)
	own := pair(t)
	n := 0
	try := func(name, key, certificate string) {
		t.Helper()
		n++
		dir := filepath.Join(top, fmt.Sprint(n))
		put(t, dir, key, certificate)
		checkRepair(t, name, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	half := own.certificate[:len(own.certificate)/2]
	for length := range len(own.key) + 1 {
		for _, certificate := range []string{none, "", half, own.certificate} {
			name := fmt.Sprintf("%d bytes of the key, %d of the certificate", length, len(certificate))
			try(name, own.key[:length], certificate)
			if length%16 == 0 && length < len(own.key)-1 { // blocks that were allocated but not written
				try(name+", zeros behind", own.key[:length]+strings.Repeat("\x00", len(own.key)-length), certificate)
			}
		}
	}
	for length := range len(own.certificate) + 1 {
		for _, key := range []string{"", own.key[:len(own.key)/2], own.key} {
			name := fmt.Sprintf("%d bytes of the certificate, %d of the key", length, len(key))
			try(name, key, own.certificate[:length])
			if length%16 == 0 && length < len(own.certificate)-1 {
				try(name+", zeros behind", key, own.certificate[:length]+strings.Repeat("\x00", len(own.certificate)-length))
			}
		}
		if length < len(own.certificate)-1 {
			try(fmt.Sprintf("%d bytes of the certificate, no key", length), none, own.certificate[:length])
		}
	}
}

// TestCreateNeverOverwrites: if Create may not replace the existing files, it returns an error and
// leaves the directory unchanged; Needed returns the same error.
func TestCreateNeverOverwrites(t *testing.T) {
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
	foreign := selfSigned(t, rsaKey) // a certificate from another tool
	rsaPEM := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	encrypted := strings.ReplaceAll(own.key, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY") // by its label only
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
		{"key of an unknown type", write("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
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
