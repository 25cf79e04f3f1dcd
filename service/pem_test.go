package service

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPEMErrorsNameFileAndBlock: Open reads each file to its end. It reports each error once, with
// the key, the file, the line and the number of the block.
func TestPEMErrorsNameFileAndBlock(t *testing.T) {
	p := newPKI(t)
	p.make("rsa1024", "rsa1024", "rsa1024", forBoard)
	p.make("rsa2048", "rsa2048", "rsa2048", forBoard)
	p.make("p224", "p224", "p224", forBoard)
	p.make("ed25519", "intermediate", "ed25519", forBoard)
	p.make("not an authority", "intermediate", "", nil)
	p.make("below", "not an authority", "", forBoard)
	// A certificate with the same name as the intermediate and another key.
	real, realKey := p.certs["intermediate"], p.keys["intermediate"]
	p.make("intermediate", "root", "", authority)
	p.certs["impostor"] = p.certs["intermediate"]
	p.certs["intermediate"], p.keys["intermediate"] = real, realKey

	ec, err := x509.MarshalECPrivateKey(p.keys["leaf"].(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p.keys["leaf"])
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(p.keys["leaf"].Public())
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 users have such files
	encrypted, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", ec, []byte("x"), x509.PEMCipherAES128)
	if err != nil {
		t.Fatal(err)
	}
	leaf, chain, key := p.cert("leaf"), p.cert("leaf", "intermediate"), p.key("leaf")
	lines := strings.SplitAfter(key, "\n")
	garbage := block("CERTIFICATE", []byte("garbage"))
	// second returns the chain with a change in its second block.
	second := func(old, new string) string {
		return leaf + strings.Replace(p.cert("intermediate"), old, new, 1)
	}
	n := strings.Count(leaf, "\n") + 1 // line of the second block
	at := func(format string) string { return fmt.Sprintf(format, n) }
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

	for _, tt := range []struct {
		name, certificate, key, clientCA string
		want                             []string
	}{
		{"good", chain, key, "", nil},
		{"one certificate", leaf, key, "", nil},
		{"with the root", p.cert("leaf", "intermediate", "root"), key, "", nil},
		{"SEC1", chain, block("EC PRIVATE KEY", ec), "", nil},
		{"curve before the key", chain, block("EC PARAMETERS", []byte{6, 1, 1}) + block("EC PRIVATE KEY", ec), "", nil},
		{"one file for both", key + chain, key + chain, "", nil},
		{"one file for both, the key last", chain + key, chain + key, "", nil},
		{"key beside the certificates", chain + key, key, "", nil},
		{"certificates beside the key", chain, chain + key, "", nil},
		{"text between", "Certificate:\n    Data:\n  Version: 3 (0x2)\n        04:ab:cd:\n# -- end of the certificate --\nsubject=CN = x\n--\n" + leaf + "\n\nBag Attributes\n    friendlyName: begin\n" + p.cert("intermediate") + "\n", "# the key\n" + key, "", nil},
		{"CRLF", strings.ReplaceAll(chain, "\n", "\r\n"), strings.ReplaceAll(key, "\n", "\r\n"), "", nil},
		{"spaces at the ends of lines", strings.ReplaceAll(chain, "\n", " \t\n"), key, "", nil},
		{"no line end at the end", strings.TrimSpace(chain), strings.TrimSpace(key), "", nil},
		{"RSA", p.cert("rsa2048"), p.key("rsa2048"), "", nil},
		{"Ed25519", p.cert("ed25519", "intermediate"), p.key("ed25519"), "", nil},
		{"X509 CERTIFICATE", strings.ReplaceAll(chain, " CERTIFICATE", " X509 CERTIFICATE"), key, "", nil},

		{"truncated certificate", leaf[:len(leaf)-40], key, "", []string{"4: tls.certificate: certificate:1: block 1 is truncated"}},
		{"truncated intermediate", chain[:len(leaf)+100], key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is truncated")}},
		{"truncated before the next block", leaf[:200] + "\n" + p.cert("intermediate"), key, "", []string{"4: tls.certificate: certificate:1: block 1 is truncated"}},
		{"garbage at the end", chain + garbage, key, "", []string{"4: tls.certificate: certificate:"}},
		{"not base64", second("M", "!"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has characters in line ")}},
		{"a missing character", second("MI", "M"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is not valid base64")}},
		{"a changed character", second("MII", "MIH"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 cannot be parsed as a certificate")}},
		{"BEGIN with a missing dash", second("-----BEGIN", "----BEGIN"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"BEGIN without final dashes", second(begin, "-----BEGIN CERTIFICATE"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"BEGIN with an extra dash", second(begin, "-"+begin), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"BEGIN without dashes", second(begin, "BEGIN CERTIFICATE"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"lower case", second(begin, strings.ToLower(begin)), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"word processor", second(begin, strings.ReplaceAll(begin, "-", "\u2013")), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"misspelt", second("BEGIN", "BEGN"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"indented", second(begin, "  "+begin), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has a broken BEGIN line")}},
		{"byte order mark", "\ufeff" + chain, key, "", []string{"4: tls.certificate: certificate:1: block 1 has a broken BEGIN line"}},
		{"END with a missing dash", strings.Replace(leaf, end, end[1:], 1) + p.cert("intermediate"), key, "", []string{"4: tls.certificate: certificate:1: block 1 has a broken END line"}},
		{"END of another type", second("END CERTIFICATE", "END PRIVATE KEY"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 begins as \"CERTIFICATE\" and ends as \"PRIVATE KEY\"")}},
		{"no line end between", strings.TrimSpace(leaf) + p.cert("intermediate"), key, "", []string{"4: tls.certificate: certificate:1: block 1 ends on the line where the next block begins"}},
		{"missing BEGIN line", second(begin+"\n", ""), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is base64 without a BEGIN line")}},
		{"empty block", leaf + begin + "\n" + end + "\n", key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is empty")}},
		{"zeros after a power failure", chain + strings.Repeat("\x00", 100), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is followed by binary data")}},
		{"END line alone", leaf + end + "\n", key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is an END line without its BEGIN line")}},
		{"foreign intermediate", p.cert("leaf", "other root"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is \"CN=other root\", but the certificate of block 1 before it was issued by \"CN=intermediate\"")}},
		{"intermediate of the same name", p.cert("leaf", "impostor"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 has the name of the issuer of block 1, but did not sign it")}},
		{"missing intermediate", p.cert("leaf", "root"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is \"CN=root\"")}},
		{"twice", p.cert("leaf", "leaf"), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is the certificate of block 1 again")}},
		{"reversed", p.cert("intermediate", "leaf"), key, "", []string{"4: tls.certificate: certificate:", "4: tls.certificate: certificate:1: block 1 comes first, but the certificate of tls.key is that of block 2"}},
		{"signed by a certificate that is not an authority", p.cert("below", "not an authority", "intermediate"), p.key("below"), "", []string{"4: tls.certificate: certificate:"}},
		{"short RSA key", p.cert("rsa1024"), p.key("rsa1024"), "", []string{"4: tls.certificate: certificate:1: block 1 has an RSA key of 1024 bits"}},
		{"P-224", p.cert("p224"), p.key("p224"), "", []string{"4: tls.certificate: certificate:1: block 1 has a key of ECDSA P-224"}},
		{"Ed448 certificate", ed448Certificate, key, "", []string{"4: tls.certificate: certificate:1: block 1 has a key of Ed448", "5: tls.key: does not belong"}},
		{"request", block("CERTIFICATE REQUEST", csr), key, "", []string{"4: tls.certificate: certificate:1: block 1 is a certificate request"}},
		{"PKCS #7", block("PKCS7", csr), key, "", []string{"4: tls.certificate: certificate:1: block 1 is a PKCS #7 container"}},
		{"OpenSSL's own format", block("TRUSTED CERTIFICATE", csr), key, "", []string{"4: tls.certificate: certificate:1: block 1 is a certificate in OpenSSL's own format"}},
		{"unknown type at the end", leaf + block("CERTIFCATE", p.certs["intermediate"].Raw), key, "", []string{at("4: tls.certificate: certificate:%d: block 2 is of the unknown type \"CERTIFCATE\"")}},
		{"key for a certificate", p.key("root"), key, "", []string{"4: tls.certificate: certificate has no certificate, but a private key in block 1"}},
		{"DER certificate", string(p.certs["leaf"].Raw), key, "", []string{"4: tls.certificate: certificate is a certificate in DER"}},
		{"UTF-16", "\xff\xfe-\x00-\x00", key, "", []string{"4: tls.certificate: certificate is UTF-16 text"}},
		{"empty certificate", "", key, "", []string{"4: tls.certificate: certificate is empty"}},
		{"blank certificate", " \n\n", key, "", []string{"4: tls.certificate: certificate is empty"}},
		{"text", "hello\n", key, "", []string{"4: tls.certificate: certificate has no PEM block"}},
		{"large", strings.Repeat("x\n", maxPEMBytes), key, "", []string{"4: tls.certificate: certificate is larger than 1024 KiB"}},

		{"encrypted key", chain, block("ENCRYPTED PRIVATE KEY", ec), "", []string{"5: tls.key: key:1: block 1 is encrypted"}},
		{"encrypted key with headers", chain, string(pem.EncodeToMemory(encrypted)), "", []string{"5: tls.key: key:1: block 1 is encrypted"}},
		{"encrypted key after the certificates", chain + string(pem.EncodeToMemory(encrypted)), chain + string(pem.EncodeToMemory(encrypted)), "", []string{"5: tls.key: certificate:"}},
		{"truncated key", chain, lines[0] + lines[1], "", []string{"5: tls.key: key:1: block 1 is truncated"}},
		{"truncated key in one file for both", chain + lines[0] + lines[1], chain + lines[0] + lines[1], "", []string{"5: tls.key: certificate:"}},
		{"truncated certificate in one file for both", key + chain[:len(leaf)+100], key + chain[:len(leaf)+100], "", []string{"4: tls.certificate: certificate:"}},
		{"key with an invalid character", chain, strings.Replace(key, "MI", "M*", 1), "", []string{"5: tls.key: key:1: block 1 has characters in line 2"}},
		{"key that cannot be parsed", chain, block("PRIVATE KEY", []byte("garbage")), "", []string{"5: tls.key: key:1: block 1 cannot be parsed as a private key"}},
		{"DER key", chain, string(ec), "", []string{"5: tls.key: key is a private key in DER"}},
		{"DER key for both", string(ec), string(ec), "", []string{"4: tls.certificate: certificate is a private key in DER"}},
		{"empty key", chain, "", "", []string{"5: tls.key: key is empty"}},
		{"certificate for a key", leaf, p.cert("root"), "", []string{"5: tls.key: key has no private key, but a certificate in block 1"}},
		{"certificate for both", leaf, leaf, "", []string{"5: tls.key: certificate has no private key, but a certificate in block 1"}},
		{"public key", chain, block("PUBLIC KEY", public), "", []string{"5: tls.key: key:1: block 1 is a public key"}},
		{"Ed448 key", chain, ed448Key, "", []string{"5: tls.key: key:1: block 1 is a private key of Ed448"}},
		{"DSA key", chain, block("DSA PRIVATE KEY", ec), "", []string{"5: tls.key: key:1: block 1 is a private key of DSA"}},
		{"OpenSSH key", chain, block("OPENSSH PRIVATE KEY", ec), "", []string{"5: tls.key: key:1: block 1 is a private key in OpenSSH's format"}},
		{"key of another certificate", chain, p.key("root"), "", []string{"5: tls.key: does not belong to tls.certificate"}},
		{"two keys", chain, key + p.key("root"), "", []string{"5: tls.key: key:6: block 2 is a second private key"}},

		{"authorities", chain, key, "# ours\n" + p.cert("root", "other root"), nil},
		{"second authority truncated", chain, key, p.cert("root", "other root")[:len(p.cert("root"))+100], []string{"6: tls.client_ca: client_ca:"}},
		{"second authority is garbage", chain, key, p.cert("root") + garbage, []string{"6: tls.client_ca: client_ca:"}},
		{"first authority is garbage", chain, key, garbage + p.cert("root"), []string{"6: tls.client_ca: client_ca:1: block 1 cannot be parsed as a certificate"}},
		{"authority of Ed448", chain, key, p.cert("root") + ed448Certificate, []string{"6: tls.client_ca: client_ca:"}},
		{"revoked certificates", chain, key, p.cert("root") + block("X509 CRL", csr), []string{"6: tls.client_ca: client_ca:"}},
		{"no authority", chain, key, "# none\n", []string{"6: tls.client_ca: client_ca has no PEM block"}},
		{"key for an authority", chain, key, key, []string{"6: tls.client_ca: client_ca has no certificate, but a private key in block 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			problems, _, opened := openPEM(t, tt.certificate, tt.key, tt.clientCA)
			want := make([]string, len(tt.want))
			for i := range want {
				want[i] = "f:" + tt.want[i]
			}
			match(t, "problem", problems, want)
			if opened != nil && (opened.TLS.Certificates[0].PrivateKey == nil || opened.TLS.Certificates[0].Leaf == nil) {
				t.Error("opened without a certificate")
			}
		})
	}
}

// TestPEMReportsAreBounded: a large file full of errors causes few problems, each of bounded length.
func TestPEMReportsAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"ends":   strings.Repeat("-----END CERTIFICATE-----\n", 10000),
		"begins": strings.Repeat("-----BEGIN CERTIFICATE-----\n", 10000),
		"broken": strings.Repeat("----BEGIN CERTIFICATE-----\n", 10000),
		"kinds":  strings.Repeat(block("X", []byte("x")), 10000),
		"blocks": strings.Repeat(block("CERTIFICATE", []byte("x")), 10000),
		"one":    "-----BEGIN " + strings.Repeat("A", 900000) + "-----\n",
		"binary": strings.Repeat("\x00-\xff", 10000),
	} {
		problems, warnings, _ := openPEM(t, text, text, text)
		if len(problems) == 0 || len(problems) > 3*maxFileProblems || len(warnings) > 100 {
			t.Errorf("%s: %d problems, %d warnings", name, len(problems), len(warnings))
		}
		for _, line := range append(problems, warnings...) {
			if len(line) > 1000 || strings.ContainsAny(line, "\n\r\x00") {
				t.Errorf("%s: %.1500q", name, line)
			}
		}
	}
}

// TestOnlyRegularFilesAreOpened: a FIFO, a device or a directory is a problem, and is not opened.
func TestOnlyRegularFilesAreOpened(t *testing.T) {
	p := newPKI(t)
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("cert", p.cert("leaf"), 0o644)
	write("key", p.key("leaf"), 0o600)
	write("open", p.key("leaf"), 0o644)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "root"), 0o755), syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		os.Symlink("fifo", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ key, file, want, warning string }{
		{"key", "fifo", "5: tls.key: fifo is a FIFO", ""},
		{"key", "link", "5: tls.key: link is a FIFO", ""},
		{"certificate", "root", "4: tls.certificate: root is a directory", ""},
		{"certificate", "/dev/zero", "4: tls.certificate: /dev/zero is a device", ""},
		{"client_ca", "/dev/zero", "6: tls.client_ca: /dev/zero is a device", ""},
		{"certificate", "none", "4: tls.certificate: cannot be read: none: no such file", ""},
		{"key", "cert/x", "5: tls.key: cannot be read: cert/x: not a directory", ""},
		{"root", "fifo", "2: root: fifo is not a directory", ""},
		{"root", "cert", "2: root: cert is not a directory", ""},
		{"root", "none", "2: root: cannot be opened: none: no such file", ""},
		{"key", "open", "", "5: tls.key: open can be read or changed by all users (mode 0644)"},
	} {
		text := "listen: [{address: \"127.0.0.1:0\", tls: true}]\nroot: root\ntls:\n  certificate: cert\n  key: key\n  client_ca: cert\n"
		value := map[string]string{"root": "root", "certificate": "cert", "key": "key", "client_ca": "cert"}[tt.key]
		text = strings.Replace(text, tt.key+": "+value+"\n", tt.key+": "+tt.file+"\n", 1)
		problems, warnings, _ := openText(t, dir, text)
		var want []string
		if tt.want != "" {
			want = []string{"f:" + tt.want}
		}
		match(t, tt.key+" "+tt.file, problems, want)
		if tt.warning != "" && !strings.HasPrefix(warnings[0], "f:"+tt.warning) {
			t.Errorf("warnings %q, want %s", warnings, tt.warning)
		}
	}
}

// FuzzPEM: blocks and errors have line numbers within the file, and no block that encoding/pem
// decodes is ignored.
func FuzzPEM(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A----------BEGIN B-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks, faults := scanPEM(data)
		lines := bytes.Count(data, []byte("\n")) + 1
		for i, b := range blocks {
			if b.number != i+1 || b.line < 1 || b.line > lines || i > 0 && b.line < blocks[i-1].line {
				t.Errorf("block %+v", b)
			}
		}
		for _, fault := range faults {
			if fault.line < 1 || fault.line > lines || fault.number < 1 || fault.number > len(blocks) {
				t.Errorf("fault %+v of %d blocks", fault, len(blocks))
			}
		}
		// encoding/pem must not find a block where scanPEM finds none.
		if b, _ := pem.Decode(data); b != nil && len(b.Bytes) > 0 && len(blocks) == 0 {
			t.Errorf("encoding/pem finds %q", b.Type)
		}
	})
}
