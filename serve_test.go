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
	"encoding/pem"
	"errors"
	"fmt"
	"io"
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

	"uringhttpd/ktls"
	"uringhttpd/test/notify"
)

// TestRequireNeedsKernelTLS: with tls.kernel: require, serve starts if kernel TLS can be used.
// Otherwise it exits, and its error has the reason and the remedy.
func TestRequireNeedsKernelTLS(t *testing.T) {
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

// A daemon is a running `uringhttpd serve`.
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

// TestServeSendsFilesUntilSIGTERM runs the program as systemd does: it reports READY=1, serves
// files over HTTPS and HTTP, and exits with status 0 after SIGTERM.
func TestServeSendsFilesUntilSIGTERM(t *testing.T) {
	dir, configure := site(t)
	content := bytes.Repeat([]byte("firmware"), 200_000)
	if err := os.WriteFile(filepath.Join(dir, "files", "fw.raucb"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	socket := notify.Listen(t)
	d := startDaemon(t, configure(good))
	state := notify.Receive(t, socket)
	for strings.HasPrefix(state, "EXTEND_TIMEOUT_USEC=") { // the start is still in progress
		state = notify.Receive(t, socket)
	}
	if !strings.Contains(state, "READY=1") {
		t.Errorf("systemd received %q", state)
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

// TestServerPrefersConfiguredCipher: the server selects tls.cipher although the client prefers
// the other cipher, with TLS 1.3, TLS 1.2 and resumed sessions.
func TestServerPrefersConfiguredCipher(t *testing.T) {
	_, configure := site(t)
	for _, tc := range []struct {
		cipher       string
		client       ktls.Cipher // the preference of the client, which is this process
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

// startTransfer starts a daemon, and a client that has read the first 1000 bytes of a response
// of 32 MiB and then stops reading.
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

// TestSecondSIGTERMResetsTransfers: after the first SIGTERM the service waits for a transfer to
// a client that does not read. The second SIGTERM resets the connection.
func TestSecondSIGTERMResetsTransfers(t *testing.T) {
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

// TestKilledServiceResetsTransfers: after SIGKILL of the service, its client receives a reset
// rather than an orderly end of the connection.
func TestKilledServiceResetsTransfers(t *testing.T) {
	d, conn := startTransfer(t)
	d.cmd.Process.Kill()
	d.cmd.Wait()
	if n, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %d bytes, then %v; want a reset", n, err)
	}
}

// TestServiceSurvivesClosedLog: the service continues after the reader of its log has closed
// the pipe.
func TestServiceSurvivesClosedLog(t *testing.T) {
	dir, configure := site(t)
	if err := os.WriteFile(filepath.Join(dir, "files", "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, configure(good))
	if err := d.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each request writes a line to the log
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

// TestServerEnforcesTLSSettings: with tls.client_ca the server requires a client certificate,
// and it rejects TLS versions below tls.minimum_version.
func TestServerEnforcesTLSSettings(t *testing.T) {
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
		tc.cfg.InsecureSkipVerify = true // this test does not verify the server's certificate
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

// TestSIGTERMEndsTheStart: another process holds the lock of crypto.prefer, so the start waits.
// It extends the start timeout of systemd, and SIGTERM ends it with status 0.
func TestSIGTERMEndsTheStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount its own /run")
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

// filters returns the number of seccomp filters of each thread of a process, by its status file.
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
			continue // the thread has ended
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

// TestServiceInstallsSeccompFilter: each thread of a running service has one seccomp filter more
// than this test.
func TestServiceInstallsSeccompFilter(t *testing.T) {
	_, configure := site(t)
	d := startDaemon(t, configure(good))
	own := filters(t, os.Getpid())
	most := 0
	for _, n := range own {
		most = max(most, n)
	}
	for task, n := range filters(t, d.cmd.Process.Pid) {
		if n != most+1 {
			t.Errorf("%s: %d seccomp filters, want one more than this test's %d", task, n, most)
		}
	}
}
