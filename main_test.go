package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"uringhttpd/config"
)

// program builds the command and returns the path of its executable.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uringhttpd")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// site makes a directory with a key, a certificate and the directory files. configure writes a
// configuration file there and returns its path.
func site(t *testing.T) (dir string, configure func(text string) string) {
	t.Helper()
	dir = t.TempDir()
	var out, errs bytes.Buffer
	if status := run([]string{"keygen", "-out", dir, "-name", "localhost"}, &out, &errs); status != exitOK {
		t.Fatalf("keygen: status %d, %s", status, errs.String())
	}
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	n := 0
	return dir, func(text string) string {
		n++
		path := filepath.Join(dir, fmt.Sprintf("%d.yaml", n))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

const good = `listen:
  - {address: "127.0.0.1:0", tls: true}
  - {address: "127.0.0.1:0"}
root: files
tls: {certificate: cert.pem, key: key.pem}
`

func TestCommandsHaveStatusAndOutput(t *testing.T) {
	dir, configure := site(t)
	other := t.TempDir()
	if status := run([]string{"keygen", "-out", other}, io.Discard, io.Discard); status != exitOK {
		t.Fatal(status)
	}
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		out    string // regular expression for standard output
		err    string // regular expression for standard error
	}{
		{"no command", nil, 2, `^$`, `usage:`},
		{"help", []string{"-h"}, 0, `usage:`, `^$`},
		{"unknown command", []string{"serv"}, 2, `^$`, `unknown command "serv"`},
		{"help of a command", []string{"check", "-h"}, 0, `-config`, `^$`},
		{"unknown option", []string{"check", "-x"}, 2, `^$`, `not defined: -x`},
		{"argument", []string{"version", "now"}, 2, `^$`, `unexpected argument "now"`},
		{"version", []string{"version"}, 0, `^uringhttpd \S+, commit \S+, go1\S*, \w+\n$`, `^$`},
		{"version as an option", []string{"--version"}, 0, `^uringhttpd \S+, commit `, `^$`},
		{"version in capitals", []string{"-V"}, 0, `^uringhttpd \S+, commit `, `^$`},
		{"version in JSON", []string{"-version", "-json"}, 0, `^{"version":`, `^$`},
		{"keygen never overwrites", []string{"keygen", "-out", dir}, 1, `^$`, `exists`},
		{"keygen is not needed", []string{"keygen", "-out", dir, "-needed"}, 1, `^$`, `exists; use them`},
		{"keygen is needed", []string{"keygen", "-out", filepath.Join(dir, "none"), "-needed"}, 0, `^$`, `^$`},
		{"keygen without a directory", []string{"keygen"}, 1, `^$`, `-out DIR`},
		{"bench", []string{"selftest", "-bench", "moon"}, 2, `^$`, `"moon" is not valid; write "kernel"`},
		{"check", []string{"check", "-config", configure(good)}, 0, `^OK: 127\.0\.0\.1:0 \(HTTPS\), 127\.0\.0\.1:0 \(HTTP\) serve \S+/files; TLS 1\.2 or later, tls\.kernel auto\n$`, `^$`},
		{"no configuration", []string{"check", "-config", dir + "/none"}, 2, `^$`, `none.*no such file`},
		{"serve with no configuration", []string{"serve", "-config", dir + "/none"}, 1, `^$`, `none.*no such file`},
		{"near miss", []string{"check", "-config", configure(good + "lisen: []\n")}, 2, `^$`, `:6: lisen: .*did you mean .?listen`},
		{"several problems", []string{"check", "-config", configure("root: nowhere\nlimits: {connections: 0}\nlisten: [{address: \":1\", tls: true}]\n")}, 2, `^$`, `(?s):1: tls.key: is missing.*:2: limits.connections: `},
		{"no root", []string{"check", "-config", configure(strings.Replace(good, "files", "nowhere", 1))}, 2, `^$`, `:4: root: .*nowhere.*no such file`},
		{"no certificate", []string{"check", "-config", configure(strings.Replace(good, "cert.pem", "none.pem", 1))}, 2, `^$`, `:5: tls.certificate: .*none.pem`},
		{"no key", []string{"check", "-config", configure(strings.Replace(good, "key.pem", "none.pem", 1))}, 2, `^$`, `:5: tls.key: .*none.pem`},
		{"key of another certificate", []string{"serve", "-config", configure(strings.Replace(good, "key.pem", other+"/key.pem", 1))}, 78, `^$`, `:5: tls.key: does not belong to tls.certificate`},
		{"not a certificate", []string{"check", "-config", configure(strings.Replace(good, "cert.pem", "key.pem", 1))}, 2, `^$`, `:5: tls.certificate: `},
		{"no credential", []string{"serve", "-config", configure(strings.Replace(good, "key.pem", "credential:key", 1))}, 78, `^$`, `:5: tls.key: .*CREDENTIALS_DIRECTORY`},
		{"credential in a shell", []string{"check", "-config", configure(strings.Replace(good, "key.pem", "credential:key", 1))}, 0, `^OK: `, `^warning: .*:5: tls.key: credential:key is not checked, since systemd passes it to the service only; check that the unit has LoadCredential=key:/path/of/file\n$`},
		{"other files beside a credential", []string{"check", "-config", configure(strings.NewReplacer("key.pem", "credential:key", "cert.pem", "key.pem").Replace(good))}, 2, `^$`, `(?s)^warning: .*:5: tls.certificate: .*no certificate`},
		{"an address that may be assigned later", []string{"check", "-config", configure(strings.Replace(good, "127.0.0.1:0\"}\n", "192.0.2.1:0\"}\n", 1))}, 0, `^OK: `, `^warning: .*:3: listen\[1\].address: 192.0.2.1:0 is not an address of this machine; `},
		{"no socket from systemd", []string{"serve", "-config", configure(strings.Replace(good, "127.0.0.1:0", "systemd:https", 1))}, 78, `^$`, `:2: listen\[0\].address: systemd passed no socket`},
		{"files for all clients", []string{"check", "-config", configure(strings.Replace(good, "tls: {", "tls: {client_ca: cert.pem, ", 1))}, 2, `^$`, `:3: listen\[1\].tls: .*all clients`},
		{"key in the root", []string{"check", "-config", configure(strings.Replace(good, "root: files", "root: .", 1))}, 0, `^OK: `, `(?m)^warning: .*:4: root: .*key.pem; `},
		{"not implemented", []string{"check", "-config", configure(good + "limits: {rate: 1MiB}\n")}, 2, `^$`, `limits.rate: is not implemented yet`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(tc.args, &out, &errs); status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			if !regexp.MustCompile(tc.out).MatchString(out.String()) {
				t.Errorf("output %q does not match %s", out.String(), tc.out)
			}
			if !regexp.MustCompile(tc.err).MatchString(errs.String()) {
				t.Errorf("errors %q do not match %s", errs.String(), tc.err)
			}
		})
	}
}

func TestServeReportsPortInUse(t *testing.T) {
	_, configure := site(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var errs bytes.Buffer
	path := configure(strings.Replace(good, "127.0.0.1:0\"}\n", l.Addr().String()+"\"}\n", 1))
	if status := run([]string{"serve", "-config", path}, io.Discard, &errs); status != exitFailed {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(errs.String(), ":3: listen[1].address: the address "+l.Addr().String()+" is in use") {
		t.Errorf("errors %q", errs.String())
	}
}

// TestServeStatusSeparatesTemporaryFailures: serve exits with 78 only if a person must change
// the configuration. systemd restarts the service after any other status.
func TestServeStatusSeparatesTemporaryFailures(t *testing.T) {
	dir, configure := site(t)
	with := func(old, new string) string { return configure(strings.Replace(good, old, new, 1)) }
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	for _, tc := range []struct {
		name string
		path string
		want int
	}{
		{"no configuration", dir + "/none", exitFailed},
		{"no directory of the configuration", dir + "/none/none", exitFailed},
		{"directory as configuration", dir, exitConfig},
		{"file as directory of the configuration", dir + "/key.pem/none", exitConfig},
		{"loop of links", loop, exitConfig},
		{"empty configuration", configure(""), exitConfig},
		{"not YAML", configure("{"), exitConfig},
		{"unknown key", configure(good + "nonsense: true\n"), exitConfig},
		{"root not mounted", with("files", "nowhere/files"), exitFailed},
		{"root is a file", with("files", "key.pem"), exitConfig},
		{"root is a loop of links", with("files", "loop"), exitConfig},
		{"no certificate yet", with("cert.pem", "none.pem"), exitFailed},
		{"no key yet", with("key.pem", "none.pem"), exitFailed},
		{"neither yet", configure(strings.NewReplacer("cert.pem", "none/cert.pem", "key.pem", "none/key.pem").Replace(good)), exitFailed},
		{"no client_ca yet", configure(strings.NewReplacer("tls: {", "tls: {client_ca: none.pem, ", "0.1:0\"}\n", "0.1:0\", public: true}\n").Replace(good)), exitFailed},
		{"no credential yet", with("key.pem", "credential:key"), exitFailed},
		{"credential without a name", with("key.pem", "credential:a/b"), exitConfig},
		{"no root yet, and not a certificate", configure(strings.NewReplacer("files", "nowhere", "cert.pem", "1.yaml").Replace(good)), exitConfig},
		{"no root and no key yet", configure(strings.NewReplacer("files", "nowhere", "key.pem", "none.pem").Replace(good)), exitFailed},
		{"address not there yet", with(`127.0.0.1:0"}`, `192.0.2.1:0"}`), exitFailed},
		{"interface not there yet", with(`127.0.0.1:0"}`, `[fe80::1%none0]:0"}`), exitFailed},
		{"name not there yet", with(`127.0.0.1:0"}`, `nowhere.invalid:0"}`), exitFailed},
		{"no socket of systemd", with("127.0.0.1:0", "systemd:https"), exitConfig},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", empty)
			var errs bytes.Buffer
			if status := run([]string{"serve", "-config", tc.path}, io.Discard, &errs); status != tc.want {
				t.Errorf("status %d, want %d: %s", status, tc.want, errs.String())
			}
			if status := run([]string{"check", "-config", tc.path}, io.Discard, io.Discard); status != exitOK && status != exitUsage {
				t.Errorf("check: status %d", status)
			}
		})
	}
	for _, args := range [][]string{{"serve", "-x"}, {"serve", "now"}} {
		if status := run(args, io.Discard, io.Discard); status != exitUsage {
			t.Errorf("%q: status %d, want %d", args, status, exitUsage)
		}
	}
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ESTALE, syscall.ENOENT} {
		if status := serveStatus(&config.FileError{Err: &fs.PathError{Op: "open", Path: "x", Err: errno}}); status != exitFailed {
			t.Errorf("configuration cannot be read, %v: status %d", errno, status)
		}
	}
	if status := serveStatus(&config.FileError{Err: &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}}); status != exitConfig {
		t.Errorf("configuration may not be read: status %d", status)
	}
}

// TestCheckNamesUnreadableFiles: as a user without permissions, check names each file that it
// may not read, and doctor reports with the default configuration.
func TestCheckNamesUnreadableFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	path := program(t)
	dir, configure := site(t)
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hidden, open := configure(good), configure(good)
	if err := os.Chmod(hidden, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   []string
		status int // -1: any, since it depends on the machine
		out    string
	}{
		{[]string{"check", "-config", hidden}, exitUsage, `^config: open .*: permission denied; run this as root or as the service's user \(sudo -u uringhttpd\), or `},
		{[]string{"check", "-config", open}, exitUsage, `:5: tls.key: cannot be read: .*/key.pem: permission denied; run this as root or as the service's user \(sudo -u uringhttpd\), or let that user's group read it\n$`},
		{[]string{"doctor", "-config", hidden}, -1, `(?s)^board: .*\nserve: .*\. This is for the default configuration: config: open .*: permission denied; run this as root`},
	} {
		cmd := exec.Command(path, tt.args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if status := cmd.ProcessState.ExitCode(); status != tt.status && tt.status >= 0 || !regexp.MustCompile(tt.out).Match(out) {
			t.Errorf("%v: status %d, %s", tt.args, status, out)
		}
	}
}

// TestCheckRejectsChaCha20InFIPSMode: crypto/tls has no ChaCha20-Poly1305 in FIPS 140-3 mode.
func TestCheckRejectsChaCha20InFIPSMode(t *testing.T) {
	_, configure := site(t)
	path := program(t)
	for _, tc := range []struct {
		godebug, cipher string
		status          int
	}{
		{"", "chacha20", exitOK},
		{"fips140=on", "chacha20", exitUsage},
		{"fips140=on", "aes-gcm", exitOK},
		{"fips140=on", "auto", exitOK},
	} {
		cmd := exec.Command(path, "check", "-config", configure(strings.Replace(good, "tls: {", "tls: {cipher: "+tc.cipher+", ", 1)))
		cmd.Env = append(os.Environ(), "GODEBUG="+tc.godebug)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != tc.status || tc.status != exitOK && !strings.Contains(string(out), "tls.cipher: chacha20 does not exist in FIPS") {
			t.Errorf("GODEBUG=%s, %s: status %d, want %d: %s", tc.godebug, tc.cipher, got, tc.status, out)
		}
	}
}

// TestExampleParses: the installed default configuration is valid.
func TestExampleParses(t *testing.T) {
	if _, err := config.Parse(config.Example(), config.DefaultPath); err != nil {
		t.Error(err)
	}
}
