package keygen

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pemPair is the content of both files.
type pemPair struct{ key, certificate string }

// none stands for a file that is not there.
const none = "none"

func pair(t *testing.T) pemPair {
	t.Helper()
	dir := t.TempDir()
	if _, err := Create(dir, []string{"board"}, testTime); err != nil {
		t.Fatal(err)
	}
	all := contents(t, dir)
	return pemPair{all["key.pem"], all["cert.pem"]}
}

// selfSigned returns a certificate as others make it.
func selfSigned(t *testing.T, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "b"}, NotBefore: testTime, NotAfter: testTime.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// contents returns the files of a directory: what they contain, by name.
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

// mends runs keygen as the next boot does: it ends with a pair and without temporary
// files, and every byte that was in a file under its own name is still there.
func mends(t *testing.T, name, dir string) {
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

// put makes dir with files; a content of none is no file.
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

// TestTorn: each length of either file, with each state of the other, is mended.
func TestTorn(t *testing.T) {
	top := t.TempDir()
	own := pair(t)
	n := 0
	try := func(name, key, certificate string) {
		t.Helper()
		n++
		dir := filepath.Join(top, fmt.Sprint(n))
		put(t, dir, key, certificate)
		mends(t, name, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	half := own.certificate[:len(own.certificate)/2]
	for length := range len(own.key) + 1 {
		for _, certificate := range []string{none, "", half, own.certificate} {
			name := fmt.Sprintf("%d bytes of the key, %d of the certificate", length, len(certificate))
			try(name, own.key[:length], certificate)
			if length%16 == 0 && length < len(own.key)-1 { // space that was allocated, and not written
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

// TestCutAtEachStep cuts the power before each step of a run, from each state that a run
// begins with, and within each write: after each byte if there was nothing, else after
// some. The next run mends it.
func TestCutAtEachStep(t *testing.T) {
	own := pair(t)
	for _, begin := range []struct{ name, key, certificate string }{
		{"nothing", none, none},
		{"torn key", own.key[:50], none},
		{"torn key with a certificate", own.key[:50], own.certificate},
		{"both torn", own.key[:50], own.certificate[:50]},
		{"key only", own.key, none},
		{"torn certificate", own.key, own.certificate[:50]},
	} {
		t.Run(begin.name, func(t *testing.T) {
			top := t.TempDir()
			n := 0
			// cut runs keygen until a step, of which it does some bytes, and then mends; it
			// returns how many bytes the step has, or -1 if the run came to its end.
			cut := func(step, size int) (all int) {
				n++
				dir := filepath.Join(top, fmt.Sprint(n))
				if begin.key != none || begin.certificate != none {
					put(t, dir, begin.key, begin.certificate)
				}
				all = -1
				at := 0
				d := &directory{path: dir, before: func(name, path string, content []byte) {
					if at++; at <= step {
						return
					}
					if all = 0; name == "write" {
						all = len(content)
						if err := os.WriteFile(path, content[:size], 0o600); err != nil {
							t.Error(err)
						}
					}
					panic(errPower)
				}}
				func() {
					defer func() {
						if r := recover(); r != nil && r != errPower {
							panic(r)
						}
						d.close(nil)
					}()
					create(d, []string{"board"}, testTime)
				}()
				mends(t, fmt.Sprintf("cut at step %d, byte %d", step, size), dir)
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				return all
			}
			steps := 0
			for ; ; steps++ {
				all := cut(steps, 0)
				every := 1
				if begin.key != none {
					every = 61
				}
				for size := 1; size <= all; size += every {
					cut(steps, size)
				}
				if all < 0 {
					break
				}
			}
			if steps < 7 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

var errPower = fmt.Errorf("no power")
