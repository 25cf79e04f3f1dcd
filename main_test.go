package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
	"uringhttpd/test/notify"
)

// program builds the command.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uringhttpd")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// site makes a directory with key, certificate and files, and returns a function
// that writes a configuration into it.
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

func TestCommands(t *testing.T) {
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
		err    string // and for standard error
	}{
		{"nothing", nil, 2, `^$`, `usage:`},
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
		{"another's key", []string{"serve", "-config", configure(strings.Replace(good, "key.pem", other+"/key.pem", 1))}, 78, `^$`, `:5: tls.key: does not belong to tls.certificate`},
		{"not a certificate", []string{"check", "-config", configure(strings.Replace(good, "cert.pem", "key.pem", 1))}, 2, `^$`, `:5: tls.certificate: `},
		{"no credential", []string{"serve", "-config", configure(strings.Replace(good, "key.pem", "credential:key", 1))}, 78, `^$`, `:5: tls.key: .*CREDENTIALS_DIRECTORY`},
		{"credential in a shell", []string{"check", "-config", configure(strings.Replace(good, "key.pem", "credential:key", 1))}, 0, `^OK: `, `^warning: .*:5: tls.key: credential:key is not checked, since systemd passes it to the service only; check that the unit has LoadCredential=key:/path/of/file\n$`},
		{"the rest beside a credential", []string{"check", "-config", configure(strings.NewReplacer("key.pem", "credential:key", "cert.pem", "key.pem").Replace(good))}, 2, `^$`, `(?s)^warning: .*:5: tls.certificate: .*no certificate`},
		{"an address that may come", []string{"check", "-config", configure(strings.Replace(good, "127.0.0.1:0\"}\n", "192.0.2.1:0\"}\n", 1))}, 0, `^OK: `, `^warning: .*:3: listen\[1\].address: 192.0.2.1:0 is not an address of this machine; `},
		{"no socket from systemd", []string{"serve", "-config", configure(strings.Replace(good, "127.0.0.1:0", "systemd:https", 1))}, 78, `^$`, `:2: listen\[0\].address: systemd passed no socket`},
		{"files for anybody", []string{"check", "-config", configure(strings.Replace(good, "tls: {", "tls: {client_ca: cert.pem, ", 1))}, 2, `^$`, `:3: listen\[1\].tls: .*all clients`},
		{"key in the root", []string{"check", "-config", configure(strings.Replace(good, "root: files", "root: .", 1))}, 0, `^OK: `, `(?m)^warning: .*:4: root: .*key.pem; `},
		{"not built", []string{"check", "-config", configure(good + "limits: {rate: 1MiB}\n")}, 2, `^$`, `limits.rate: is not implemented yet`},
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

// TestHelp: each command's help begins with a sentence and hides internal options.
func TestHelp(t *testing.T) {
	for _, tt := range []struct{ command, options string }{
		{"serve", "-config -restore"}, {"check", "-config"}, {"doctor", "-bench -config -driver -json"},
		{"selftest", "-json"}, {"keygen", "-name -needed -out"}, {"version", "-json"},
	} {
		for _, ask := range []string{"-h", "--help"} {
			var out, errs bytes.Buffer
			if status := run([]string{tt.command, ask}, &out, &errs); status > exitOK || errs.Len() > 0 {
				t.Errorf("%s %s: status %d, %s", tt.command, ask, status, errs.String())
			}
			if !regexp.MustCompile(`^[A-Z].*\.\n(?:.*\.\n)?\nusage: uringhttpd ` + tt.command + ` \[options\]\n`).MatchString(out.String()) {
				t.Errorf("%s %s: %s", tt.command, ask, out.String())
			}
			options := strings.TrimSpace(strings.Join(regexp.MustCompile(`(?m)^  -\w+`).FindAllString(out.String(), -1), ""))
			if got := strings.Join(strings.Fields(options), " "); got != tt.options {
				t.Errorf("%s %s shows %q, want %q", tt.command, ask, got, tt.options)
			}
		}
	}
	// An internal option still works, and a wrong one shows the help as an error.
	var errs bytes.Buffer
	if status := run([]string{"selftest", "-x"}, io.Discard, &errs); status != exitUsage || strings.Contains(errs.String(), "-driver") || !strings.Contains(errs.String(), "usage:") {
		t.Errorf("status %d, %s", status, errs.String())
	}
}

func TestPortInUse(t *testing.T) {
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

// TestServeStatus: systemd starts the service again unless a person must change the
// configuration.
func TestServeStatus(t *testing.T) {
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
		{"no YAML", configure("{"), exitConfig},
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

func TestDoctor(t *testing.T) {
	_, configure := site(t)
	var out, errs bytes.Buffer
	status := run([]string{"doctor", "-json", "-config", configure(good)}, &out, &errs)
	var report struct {
		Board     *platform.Board
		IOURing   struct{ Usable bool } `json:"io_uring"`
		KernelTLS struct{ Usable bool } `json:"kernel_tls"`
		Verdict   string
		Status    int
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v in %q, %q", err, out.String(), errs.String())
	}
	want := exitFailed
	switch {
	case !report.IOURing.Usable:
		want = exitUsage
	case report.KernelTLS.Usable:
		want = exitOK
	}
	if status != want || report.Status != status || report.Verdict == "" || report.Board == nil || report.Board.Engines == nil {
		t.Errorf("status %d, want %d, in %+v", status, want, report)
	}
}

// TestDoctorWithoutConfiguration: the machine is reported whatever the configuration.
func TestDoctorWithoutConfiguration(t *testing.T) {
	_, configure := site(t)
	for _, tt := range []struct {
		name, file string
		wrong      bool
		out        string // after "serve: "
	}{
		{"wrong", configure("index: none\n"), true, `the configuration is wrong: .*:1: index: "none" is not a valid value`},
		{"missing", "/nonexistent/u.yaml", true, `the configuration is wrong: config: open /nonexistent/u.yaml: no such file`},
	} {
		var out, errs bytes.Buffer
		status := run([]string{"doctor", "-config", tt.file}, &out, &errs)
		if !regexp.MustCompile(`(?s)^board: .*\nio_uring: .*\nserve: `+tt.out).MatchString(out.String()) || status != exitUsage || errs.Len() == 0 {
			t.Errorf("%s: status %d, %s%s", tt.name, status, out.String(), errs.String())
		}
	}
}

// TestNormalUser: check names each file that it may not read, and doctor does without.
func TestNormalUser(t *testing.T) {
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
		status int // -1: that of the machine
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

// TestCipherAndFIPS: in FIPS mode there is no ChaCha20, and check says so.
func TestCipherAndFIPS(t *testing.T) {
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

// TestRequire: without kernel TLS, require is a refusal that says what to do;
// with it, the daemon starts.
func TestRequire(t *testing.T) {
	_, configure := site(t)
	path := configure(strings.Replace(good, "tls: {", "tls: {kernel: require, ", 1))
	report, err := newTester().Probe(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if report.KernelTLS.Usable {
		startDaemon(t, path)
		return
	}
	var errs bytes.Buffer
	if status := run([]string{"serve", "-config", path}, io.Discard, &errs); status != exitFailed {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"tls.kernel is require", report.KernelTLS.Reason, report.KernelTLS.Remedy} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q lacks %q", errs.String(), want)
		}
	}
	if strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("%q is not one line", errs.String())
	}
}

// daemon is a running `uringhttpd serve`.
type daemon struct {
	cmd    *exec.Cmd
	stderr io.Closer
	lines  *bufio.Reader
	addrs  []string
}

func startDaemon(t *testing.T, path string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command(program(t), "serve", "-config", path)}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill(); d.cmd.Wait() })
	d.stderr, d.lines = stderr, bufio.NewReader(stderr)
	for len(d.addrs) < 2 {
		line, err := d.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, line)
		}
		if m := regexp.MustCompile(`msg=listening address=(\S+)`).FindStringSubmatch(line); m != nil {
			d.addrs = append(d.addrs, m[1])
		}
	}
	return d
}

// TestServe runs the program as systemd would, and stops it with SIGTERM.
func TestServe(t *testing.T) {
	dir, configure := site(t)
	content := bytes.Repeat([]byte("firmware"), 200_000)
	if err := os.WriteFile(filepath.Join(dir, "files", "fw.raucb"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	socket := notify.Listen(t)
	d := startDaemon(t, configure(good))
	told := notify.Receive(t, socket)
	for strings.HasPrefix(told, "EXTEND_TIMEOUT_USEC=") { // the start goes on
		told = notify.Receive(t, socket)
	}
	if !strings.Contains(told, "READY=1") {
		t.Errorf("systemd received %q", told)
	}

	pem, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: time.Minute}
	for _, base := range []string{"https://" + d.addrs[0], "http://" + d.addrs[1]} {
		res, err := c.Get(base + "/fw.raucb")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, content) || res.Header.Get("Server") != "uringhttpd" || res.Header.Get("ETag") == "" {
			t.Errorf("%s: %d bytes, %v, %v", base, len(got), err, res.Header)
		}
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	io.Copy(io.Discard, d.lines)
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// TestCipherChoice: tls.cipher is what a client gets that prefers the other, with
// TLS 1.3, with TLS 1.2, and with a second connection of the same session.
func TestCipherChoice(t *testing.T) {
	_, configure := site(t)
	for _, tc := range []struct {
		cipher       string
		client       ktls.Cipher // what this process, the client, prefers
		tls13, tls12 uint16
	}{
		{"aes-gcm", ktls.ChaCha20Poly1305, tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		{"chacha20", ktls.AESGCM, tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
	} {
		ktls.PreferTLS13(tc.client)
		d := startDaemon(t, configure(strings.Replace(good, "tls: {", "tls: {cipher: "+tc.cipher+", ", 1)))
		for version, want := range map[uint16]uint16{tls.VersionTLS13: tc.tls13, tls.VersionTLS12: tc.tls12} {
			cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for _, resumed := range []bool{false, true} {
				c, err := tls.Dial("tcp", d.addrs[0], cfg)
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
				body, err := io.ReadAll(c)
				state := c.ConnectionState()
				if c.Close(); err != nil || !bytes.HasPrefix(body, []byte("HTTP/1.1 200")) {
					t.Errorf("%s, %s: %q, %v", tc.cipher, tls.VersionName(version), body, err)
				}
				if state.CipherSuite != want || state.DidResume != resumed {
					t.Errorf("%s, %s: got %s, resumed %v, want %s, %v", tc.cipher, tls.VersionName(version),
						tls.CipherSuiteName(state.CipherSuite), state.DidResume, tls.CipherSuiteName(want), resumed)
				}
			}
		}
	}
}

// startTransfer starts a daemon, and a client that has the beginning of a large file
// and reads no more of it by itself.
func startTransfer(t *testing.T) (*daemon, net.Conn) {
	t.Helper()
	dir, configure := site(t)
	if err := os.WriteFile(filepath.Join(dir, "files", "fw"), make([]byte, 32<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, configure(good+"limits: {stall_timeout: 10s}\n"))
	conn, err := net.Dial("tcp", d.addrs[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(conn, "GET /fw HTTP/1.1\r\nHost: b\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	return d, conn
}

// TestSecondSignal: a transfer that a client does not take holds the first
// SIGTERM up; the second ends it, and the client can tell.
func TestSecondSignal(t *testing.T) {
	d, conn := startTransfer(t)
	d.cmd.Process.Signal(syscall.SIGTERM)
	for {
		line, err := d.lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "msg=stopping connections=1") {
			break
		}
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	io.Copy(io.Discard, d.lines)
	if err := d.cmd.Wait(); d.cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("after the second SIGTERM: %v", err)
	}
	if n, err := io.Copy(io.Discard, conn); err == nil {
		t.Errorf("the client had a clean end after %d bytes", n)
	}
}

// TestKilled: a client of a service that is killed can tell.
func TestKilled(t *testing.T) {
	d, conn := startTransfer(t)
	d.cmd.Process.Kill()
	d.cmd.Wait()
	if n, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %d bytes, then %v; want a reset", n, err)
	}
}

// TestClosedLog: who reads the log may go; the service stays.
func TestClosedLog(t *testing.T) {
	dir, configure := site(t)
	if err := os.WriteFile(filepath.Join(dir, "files", "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, configure(good))
	if err := d.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each is a line of the access log
		res, err := http.Get("http://" + d.addrs[1] + "/f")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// TestTLSSettings: client_ca asks for a certificate that it signed, and
// minimum_version refuses what is older.
func TestTLSSettings(t *testing.T) {
	dir, configure := site(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, configure(strings.NewReplacer("tls: {", `tls: {client_ca: ca.pem, minimum_version: "1.3", `,
		"127.0.0.1:0\"}\n", "127.0.0.1:0\", public: true}\n").Replace(good)))
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	for _, tc := range []struct {
		name string
		cfg  *tls.Config
		ok   bool
	}{
		{"certificate", &tls.Config{Certificates: own}, true},
		{"no certificate", &tls.Config{}, false},
		{"old version", &tls.Config{Certificates: own, MaxVersion: tls.VersionTLS12}, false},
	} {
		tc.cfg.InsecureSkipVerify = true // the server's certificate is not what is tested
		tr := &http.Transport{TLSClientConfig: tc.cfg}
		res, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Get("https://" + d.addrs[0] + "/")
		if err == nil {
			res.Body.Close()
		}
		tr.CloseIdleConnections()
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// TestExampleIsChecked: what is installed as the default is a good configuration.
func TestExampleIsChecked(t *testing.T) {
	if _, err := config.Parse(config.Example(), config.DefaultPath); err != nil {
		t.Error(err)
	}
}

// TestSignalDuringStart: another process holds the lock that a start waits for, as it does
// while it measures. systemd is told that the start takes longer, and SIGTERM ends it.
func TestSignalDuringStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a /run of its own")
	}
	_, configure := site(t)
	socket := notify.Listen(t)
	const script = `mount -t tmpfs tmpfs /run && mkdir /run/uringhttpd && exec 9>/run/uringhttpd/preference.lock && flock -x 9 && exec "$@"`
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", program(t), "serve", "-config", configure(good))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); socket.SetReadDeadline(time.Now()) }()
	if got := notify.Receive(t, socket); got != "EXTEND_TIMEOUT_USEC=90000000" {
		t.Errorf("systemd received %q", got)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, log.String())
	}
	if !strings.Contains(log.String(), "stopped during the start") {
		t.Errorf("log %q", log.String())
	}
}

// filters is how many filters of system calls each thread of a process has.
func filters(t *testing.T, pid int) map[string]int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%v: threads: %v", err, tasks)
	}
	all := map[string]int{}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			var n int
			if _, err := fmt.Sscanf(line, "Seccomp_filters: %d", &n); err == nil {
				all[task] = n
			}
		}
	}
	return all
}

// TestServeConfined: a service that serves has given those rights up.
func TestServeConfined(t *testing.T) {
	_, configure := site(t)
	d := startDaemon(t, configure(good))
	own := filters(t, os.Getpid())
	most := 0
	for _, n := range own {
		most = max(most, n)
	}
	for task, n := range filters(t, d.cmd.Process.Pid) {
		if n != most+1 {
			t.Errorf("%s: %d filters of system calls, want one more than this test's %d", task, n, most)
		}
	}
}

// TestUntestable: a driver whose test could corrupt memory is not tested, and that is no verdict.
func TestUntestable(t *testing.T) {
	tester := selftest.Tester{Untestable: func(_ context.Context, suite uint16) string {
		if suite == tls.TLS_CHACHA20_POLY1305_SHA256 {
			return ""
		}
		return "it corrupts memory"
	}}
	var out, errs bytes.Buffer
	status := testCiphers(tester, selftest.WriteText(&out), &errs)
	for _, suite := range selftest.Suites {
		line := tls.CipherSuiteName(suite) + ": not tested: it corrupts memory\n"
		if strings.Contains(out.String(), line) != (suite != tls.TLS_CHACHA20_POLY1305_SHA256) {
			t.Errorf("%q in %q", line, out.String())
		}
	}
	if status != exitFailed || errs.Len() > 0 {
		t.Errorf("status %d, %q", status, errs.String())
	}
}
