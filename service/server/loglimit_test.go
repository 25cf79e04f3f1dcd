package server

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRepeats: the first line of a kind is written at once, then one a minute with the number
// of those left out and the last reason, then none.
func TestRepeats(t *testing.T) {
	var out bytes.Buffer
	withoutTime := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	e := newEngineLoop(t, 0)
	e.gen.log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	warn := func(n int) { e.state.logLimited(e.gen.log, lineAccept, slog.LevelWarn, "w", slog.Int("n", n)) }
	turn := func(d time.Duration) { e.now = e.now.Add(d); e.logSuppressed() }
	for n := range 5 {
		warn(n)
		turn(0)
	}
	e.state.logLimited(e.gen.log, lineRecord, slog.LevelWarn, "other")
	turn(lineInterval - 1)
	turn(1)
	warn(5)
	turn(lineInterval)
	turn(lineInterval)
	warn(6)
	turn(0)
	want := "level=WARN msg=w n=0\nlevel=WARN msg=other\nlevel=WARN msg=w n=4 repeated=4\nlevel=WARN msg=w n=5 repeated=1\nlevel=WARN msg=w n=6\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	if e.deadlines.next(e.now) < 0 {
		t.Error("nothing wakes the loop for the next line")
	}
}

// TestHandshakeFailures: refused TLS clients leave a line at the default level, and are counted
// by reason.
func TestHandshakeFailures(t *testing.T) {
	var out lockedBuffer
	out.mu = make(chan struct{}, 1)
	ts := startServer(t, http.NotFoundHandler(), func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&out, nil))
		o.TLS.ClientAuth = tls.RequireAnyClientCert
		o.TLS.NextProtos = []string{"http/1.1"}
	})
	fail := func(do func(c net.Conn) error) {
		t.Helper()
		c, err := net.Dial("tcp", ts.tls)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if err := do(c); err == nil {
			t.Error("let in")
		}
	}
	client := func(change func(*tls.Config)) func(net.Conn) error {
		return func(c net.Conn) error {
			cfg := &tls.Config{RootCAs: ts.pool, ServerName: "board"}
			change(cfg)
			_, err := tls.Client(c, cfg).Read(make([]byte, 1)) // TLS 1.3: the refusal comes behind the handshake
			return err
		}
	}
	fail(client(func(*tls.Config) {}))
	fail(client(func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }))
	fail(client(func(cfg *tls.Config) { cfg.NextProtos = []string{"h2"} }))
	fail(client(func(cfg *tls.Config) { cfg.RootCAs = nil }))
	fail(func(c net.Conn) error {
		io.WriteString(c, shortGet)
		_, err := c.Read(make([]byte, 1))
		return err
	})
	fail(func(c net.Conn) error {
		c.(*net.TCPConn).CloseWrite()
		_, err := c.Read(make([]byte, 1))
		return err
	})
	res, err := http.Get("http://" + ts.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"no_client_certificate", "version", "alpn", "client_alert", "not_tls", "left"} {
		if want := "\nuringhttpd_tls_handshake_failures_total{reason=\"" + reason + "\"} 1\n"; !strings.Contains(string(text), want) {
			t.Errorf("lacks %s", want)
		}
	}
	if n := strings.Count(out.String(), "TLS handshake failed"); n != 1 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

// logged is a number in a line of the log.
func logged(t *testing.T, line, key string) int {
	t.Helper()
	found := regexp.MustCompile(" " + key + `=(\d+)`).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("no %s: %s", key, line)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAbortedRequest: a client that leaves is no warning, and the line has the bytes that were
// sent, not those announced.
func TestAbortedRequest(t *testing.T) {
	const size = 32 << 20
	for _, withTLS := range []bool{false, true} {
		h := &folder{dir: t.TempDir()}
		h.file(t, "f", size)
		ts := startServer(t, h, nil)
		c := ts.dial(t, withTLS)
		io.WriteString(c, "GET /f HTTP/1.1\r\nHost: b\r\n\r\n")
		io.ReadFull(c, make([]byte, 1<<20))
		if tc, ok := c.(*tls.Conn); ok {
			c = tc.NetConn()
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		ts.awaitLog(t, "request aborted by the client")
		for line := range strings.Lines(ts.log.String()) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "pending_max") {
				t.Errorf("tls %v: %s", withTLS, line)
			}
			if !strings.Contains(line, "request aborted") {
				continue
			}
			if n := logged(t, line, "bytes"); n < 1<<19 || n > size/2 {
				t.Errorf("tls %v: %s", withTLS, line)
			}
			if strings.Contains(line, "ktls") {
				t.Errorf("tls %v: %s", withTLS, line)
			}
		}
	}
}
