//go:build board

package board_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/rawtls"
)

// cipherFile is the file that the tests of ciphers download.
var cipherFile = aDownload{name: "ciphers", content: pattern.Content{Seed: 77, Size: 300<<10 + 1}}

// cipherTest is a daemon with one value of tls.cipher, and its clients.
type cipherTest struct {
	m     *board.Machine
	p     *board.Process
	addr  string
	roots *x509.CertPool
	pem   string // the same, as a file
}

// testCiphers: the expected connections use kernel TLS, and every connection is served,
// whatever messages the client sends.
func testCiphers(ctx context.Context, t *testing.T, m *board.Machine) {
	if err := m.MakeFile(ctx, board.Root+cipherFile.path(), cipherFile.content); err != nil {
		t.Fatal(err)
	}
	inKernel := !m.Spec.Engine.Async()
	t.Run("doctor", func(t *testing.T) { testCipherReport(ctx, t, m, inKernel) })
	t.Run("key refused", func(t *testing.T) { testKeyRefused(ctx, t, m) })
	withCipher(ctx, t, m, "chacha20", func(t *testing.T, c *cipherTest) {
		want := int64(0)
		if inKernel {
			want = 1
		}
		t.Run("TLS 1.3", func(t *testing.T) {
			c.download(ctx, t, &tls.Config{}, tls.TLS_CHACHA20_POLY1305_SHA256, 2*want)
		})
		t.Run("TLS 1.2", func(t *testing.T) {
			c.download(ctx, t, &tls.Config{MaxVersion: tls.VersionTLS12}, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, want)
		})
		t.Run("AES-only client", func(t *testing.T) { c.curl(ctx, t, "TLS_AES_128_GCM_SHA256", 1) })
	})
	withCipher(ctx, t, m, "aes-gcm", func(t *testing.T, c *cipherTest) {
		t.Run("TLS 1.3", func(t *testing.T) { c.download(ctx, t, &tls.Config{}, tls.TLS_AES_128_GCM_SHA256, 2) })
		t.Run("AES-256", func(t *testing.T) { c.curl(ctx, t, "TLS_AES_256_GCM_SHA384", 1) })
		t.Run("TLS 1.2", func(t *testing.T) {
			c.download(ctx, t, &tls.Config{MaxVersion: tls.VersionTLS12}, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 1)
		})
		t.Run("TLS 1.2, broken", func(t *testing.T) { c.broken12(ctx, t) })
		t.Run("half-close", func(t *testing.T) { c.halfClose(ctx, t) })
		t.Run("key updates", func(t *testing.T) { c.keyUpdates(ctx, t) })
		for _, v := range rawtls.Violations() {
			t.Run(v.Name, func(t *testing.T) { c.violation(ctx, t, v) })
		}
	})
}

// testCipherReport: doctor reports which ciphers the kernel supports.
func testCipherReport(ctx context.Context, t *testing.T, m *board.Machine, chaCha bool) {
	e, err := m.Run(ctx, nil, board.ProgramPath, "doctor", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Ciphers []struct {
			Name   string
			Usable bool
			Reason string
		}
	}
	if err := json.Unmarshal(e.Stdout, &report); err != nil {
		t.Fatalf("%v in %q, %q", err, e.Stdout, e.Stderr)
	}
	got := map[string]bool{}
	for _, c := range report.Ciphers {
		got[c.Name] = c.Usable
		t.Logf("%+v", c)
	}
	if !got["TLS_AES_128_GCM_SHA256"] || !got["TLS_AES_256_GCM_SHA384"] || got["TLS_CHACHA20_POLY1305_SHA256"] != chaCha {
		t.Errorf("got %v, want AES, and ChaCha20 %v", got, chaCha)
	}
}

// testKeyRefused runs the test of package ktls that needs a kernel with TLS.
func testKeyRefused(ctx context.Context, t *testing.T, m *board.Machine) {
	path := filepath.Join(t.TempDir(), "ktls.test")
	arch := map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}[m.Hello.Machine]
	build := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-o", path, "uringhttpd/ktls")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARM=7", "GOARCH="+arch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const there = "/tmp/ktls.test"
	if err := m.WriteFile(ctx, there, data, 0o755); err != nil {
		t.Fatal(err)
	}
	defer m.Remove(ctx, there)
	e, err := m.Run(ctx, nil, there, "-test.run", "TestRefusedKey", "-test.v", "-test.timeout", "60s")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s%s", e.Stdout, e.Stderr)
	if e.Status != 0 || !bytes.Contains(e.Stdout, []byte("TLS_TX")) { // the kernel accepted TCP_ULP
		t.Errorf("status %d", e.Status)
	}
}

// cipherConfig serves over kernel TLS where the kernel can, and in user space elsewhere.
const cipherConfig = `listen:
  - address: ":8443"
    tls: true
  - address: ":8080"
root: /srv
tls:
  certificate: cert.pem
  key: key.pem
  cipher: %s
log: {level: debug}
`

// withCipher runs f with a daemon that has a value of tls.cipher.
func withCipher(ctx context.Context, t *testing.T, m *board.Machine, cipher string, f func(*testing.T, *cipherTest)) {
	t.Run(cipher, func(t *testing.T) {
		p, err := m.StartDaemon(ctx, board.Daemon{Config: fmt.Sprintf(cipherConfig, cipher)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if t.Failed() {
				e, err := p.Output(ctx)
				t.Logf("daemon (%v): %s", err, e.Stderr)
			}
			if err := p.Stop(ctx); err != nil {
				t.Error(err)
			}
		}()
		c := &cipherTest{m: m, p: p, roots: x509.NewCertPool(), pem: filepath.Join(t.TempDir(), "roots.pem")}
		if c.addr, err = m.Forward(ctx, board.TLSPort); err != nil {
			t.Fatal(err)
		}
		roots, err := m.Roots()
		if err != nil {
			t.Fatal(err)
		}
		c.roots.AppendCertsFromPEM(roots)
		if err := os.WriteFile(c.pem, roots, 0o644); err != nil {
			t.Fatal(err)
		}
		f(t, c)
	})
}

// inKernel returns a check that kernel TLS was enabled for n connections.
func (c *cipherTest) inKernel(ctx context.Context, t *testing.T, n int64) func() {
	before := tlsTxSw(ctx, t, c.m)
	return func() {
		t.Helper()
		if got := tlsTxSw(ctx, t, c.m) - before; got != n {
			t.Errorf("kernel TLS was enabled %d times, want %d", got, n)
		}
	}
}

// download fetches the file twice, the second time with the session of the first. The
// kernel gets the second connection with TLS 1.3 only.
func (c *cipherTest) download(ctx context.Context, t *testing.T, cfg *tls.Config, suite uint16, inKernel int64) {
	defer c.inKernel(ctx, t, inKernel)()
	cfg.RootCAs, cfg.ServerName, cfg.ClientSessionCache = c.roots, "localhost", tls.NewLRUClientSessionCache(1)
	for _, resumed := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true, ForceAttemptHTTP2: false}
		client := &http.Client{Transport: tr, Timeout: 2 * time.Minute}
		res, err := client.Get("https://" + c.addr + cipherFile.path())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if sum := sha256.Sum256(body); err != nil || hex.EncodeToString(sum[:]) != cipherFile.want() {
			t.Errorf("%d bytes, %v, first wrong one at %d", len(body), err, cipherFile.content.Diff(body, 0))
		}
		if res.TLS.CipherSuite != suite || res.TLS.DidResume != resumed {
			t.Errorf("got %s, resumed %v, want %s, %v", tls.CipherSuiteName(res.TLS.CipherSuite), res.TLS.DidResume, tls.CipherSuiteName(suite), resumed)
		}
	}
}

// broken12: with TLS 1.2, too, the alert is sent by kernel TLS.
func (c *cipherTest) broken12(ctx context.Context, t *testing.T) {
	defer c.inKernel(ctx, t, 1)()
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	client := tls.Client(conn, &tls.Config{RootCAs: c.roots, ServerName: "localhost", MaxVersion: tls.VersionTLS12})
	fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", cipherFile.path())
	conn.Write([]byte{rawtls.ApplicationData, 3, 3, 0xff, 0xff})
	data, err := io.ReadAll(client)
	if !isWhole(data) || err == nil || !strings.HasSuffix(err.Error(), tls.AlertError(rawtls.RecordOverflow).Error()) {
		t.Errorf("%d bytes, %v; want the file and record_overflow", len(data), err)
	}
}

// curl fetches the file with a client that offers one cipher suite of TLS 1.3.
func (c *cipherTest) curl(ctx context.Context, t *testing.T, suite string, inKernel int64) {
	defer c.inKernel(ctx, t, inKernel)()
	curler{addr: c.addr, roots: c.pem}.download(ctx, t, cipherFile, "--tls13-ciphers", suite)
}

// raw makes a connection whose records the test makes; wrap, if not nil, wraps the TCP
// connection.
func (c *cipherTest) raw(t *testing.T, wrap func(net.Conn) net.Conn) (*rawtls.Client, *net.TCPConn) {
	t.Helper()
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	used := conn
	if wrap != nil {
		used = wrap(conn)
	}
	client, err := rawtls.New(used, &tls.Config{RootCAs: c.roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return client, conn.(*net.TCPConn)
}

func (c *cipherTest) get(client *rawtls.Client) []byte {
	return client.Seal(rawtls.ApplicationData, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", cipherFile.path()), 0)
}

// isWhole reports whether an HTTP response holds the file.
func isWhole(response []byte) bool {
	_, body, _ := bytes.Cut(response, []byte("\r\n\r\n"))
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]) == cipherFile.want()
}

// heldBack delays the last flight of a handshake, so that the client's FIN has arrived when
// the server reads the flight.
type heldBack struct {
	net.Conn
	flights int
	kept    []byte
}

func (h *heldBack) Write(p []byte) (int, error) {
	if h.flights++; h.flights == 1 { // ClientHello
		return h.Conn.Write(p)
	}
	h.kept = append(h.kept, p...)
	return len(p), nil
}

// halfClose: a client that closes its side after its request gets all of the file. If its
// FIN arrives before TCP_ULP is set, the kernel answers ENOTCONN, and user space serves it.
func (c *cipherTest) halfClose(ctx context.Context, t *testing.T) {
	const tries = 20
	user := 0
	for range tries {
		before := tlsTxSw(ctx, t, c.m)
		var held *heldBack
		client, conn := c.raw(t, func(conn net.Conn) net.Conn {
			held = &heldBack{Conn: conn}
			return held
		})
		if _, err := conn.Write(slices.Concat(held.kept, c.get(client))); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		data, alert, err := client.ReadAll()
		if err != nil || alert != rawtls.CloseNotify || !isWhole(data) {
			t.Fatalf("%d bytes, alert %d, %v", len(data), alert, err)
		}
		if tlsTxSw(ctx, t, c.m) == before {
			user++
		}
	}
	t.Logf("%d of %d in user space", user, tries)
	if user == 0 {
		t.Error("no client's FIN arrived before TCP_ULP was set; the test proves nothing")
	}
}

// keyUpdates: the client may change its keys. A client that requests the server's key
// update, which this kernel cannot make, gets an orderly end.
func (c *cipherTest) keyUpdates(ctx context.Context, t *testing.T) {
	defer c.inKernel(ctx, t, 2)()
	client, conn := c.raw(t, nil)
	end := client.Seal(rawtls.ApplicationData, nil, 100) // an empty record before it
	stream := slices.Concat(end, client.KeyUpdate(false), c.get(client), client.KeyUpdate(false), client.Seal(rawtls.Alert, []byte{1, rawtls.CloseNotify}, 0))
	if _, err := conn.Write(stream); err != nil {
		t.Fatal(err)
	}
	if data, alert, err := client.ReadAll(); err != nil || alert != rawtls.CloseNotify || !isWhole(data) {
		t.Errorf("not requested: %d bytes, alert %d, %v", len(data), alert, err)
	}
	client, conn = c.raw(t, nil)
	if _, err := conn.Write(slices.Concat(c.get(client), client.KeyUpdate(true), c.get(client))); err != nil {
		t.Fatal(err)
	}
	if data, alert, err := client.ReadAll(); err != nil || alert != rawtls.CloseNotify || !isWhole(data) {
		t.Errorf("requested: %d bytes, alert %d, %v; want one file and close_notify", len(data), alert, err)
	}
}

// violation: a client that breaks TLS after a request gets the alert by kernel TLS.
// A plaintext alert is detected before the request is answered, since crypto/tls looks for
// close_notify behind the data that it reads.
func (c *cipherTest) violation(ctx context.Context, t *testing.T, v rawtls.Violation) {
	defer c.inKernel(ctx, t, 1)()
	client, conn := c.raw(t, nil)
	if _, err := conn.Write(slices.Concat(c.get(client), v.Make(client))); err != nil {
		t.Fatal(err)
	}
	if data, alert, err := client.ReadAll(); err != nil || alert != v.Alert || len(data) > 0 && !isWhole(data) {
		t.Errorf("%d bytes, alert %d, %v; want the file or nothing, alert %d and the end", len(data), alert, err, v.Alert)
	}
}
