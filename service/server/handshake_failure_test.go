package server

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHandshakeFailuresAreCounted: failed handshakes leave a line at the default level, and are
// counted by reason.
func TestHandshakeFailuresAreCounted(t *testing.T) {
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
