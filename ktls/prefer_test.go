//go:build linux

package ktls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"net"
	"slices"
	"testing"
)

// An afterHello calls a function once the first flight of its connection, a ClientHello, is made.
type afterHello struct {
	net.Conn
	made chan struct{}
}

func (c *afterHello) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.made != nil {
		close(c.made)
		c.made = nil
	}
	return n, err
}

// TestPreferTLS13: the server chooses its preferred cipher although the client prefers the other,
// and serves a client that has only the other.
func TestPreferTLS13(t *testing.T) {
	aes, chacha := AESGCM.suites13(), ChaCha20Poly1305.suites13()
	for _, tc := range []struct {
		name    string
		prefer  Cipher
		offered []uint16
		want    uint16
	}{
		{"AES-GCM, against ChaCha20", AESGCM, chacha, tls.TLS_AES_128_GCM_SHA256},
		{"AES-GCM, agreed", AESGCM, aes, tls.TLS_AES_128_GCM_SHA256},
		{"AES-GCM, the client has AES-256 only", AESGCM, aes[1:2], tls.TLS_AES_256_GCM_SHA384},
		{"AES-GCM, the client has ChaCha20 only", AESGCM, chacha[:1], tls.TLS_CHACHA20_POLY1305_SHA256},
		{"ChaCha20, against AES-GCM", ChaCha20Poly1305, aes, tls.TLS_CHACHA20_POLY1305_SHA256},
		{"ChaCha20, agreed", ChaCha20Poly1305, chacha, tls.TLS_CHACHA20_POLY1305_SHA256},
		{"ChaCha20, the client has AES only", ChaCha20Poly1305, aes[:2], tls.TLS_AES_128_GCM_SHA256},
	} {
		t.Run(tc.name, func(t *testing.T) {
			withPreference(t, tc.offered)
			cfg, pool := testConfig(t)
			l := newLaptop(t, NewServer(cfg), clientConfig(pool))
			conn := &afterHello{Conn: l.near, made: make(chan struct{})}
			made := conn.made
			l.tls = tls.Client(conn, clientConfig(pool))
			ended := make(chan error, 1)
			go func() { ended <- l.tls.Handshake() }()
			<-made
			PreferTLS13(tc.prefer)
			if err := l.serve(ended, 4096); err != nil {
				t.Fatal(err)
			}
			if got := l.sess.State().CipherSuite; got != tc.want {
				t.Errorf("got %s, want %s", tls.CipherSuiteName(got), tls.CipherSuiteName(tc.want))
			}
		})
	}
}

// TestPreferTLS12: the same for TLS 1.2, with each type of the certificate's key.
func TestPreferTLS12(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	const (
		ecGCM    = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
		ecChaCha = tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
		rGCM     = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
		rChaCha  = tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
		rGCM256  = tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
		rCBC     = tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
	)
	all := []uint16{ecGCM, ecChaCha, rGCM, rChaCha, rGCM256, rCBC}
	for _, tc := range []struct {
		name    string
		key     crypto.Signer
		prefer  Cipher
		offered []uint16
		want    uint16
	}{
		{"ECDSA, AES-GCM", ec, AESGCM, all, ecGCM},
		{"ECDSA, ChaCha20", ec, ChaCha20Poly1305, all, ecChaCha},
		{"Ed25519, AES-GCM", ed, AESGCM, all, ecGCM},
		{"Ed25519, ChaCha20", ed, ChaCha20Poly1305, all, ecChaCha},
		{"RSA, AES-GCM", r, AESGCM, all, rGCM},
		{"RSA, ChaCha20", r, ChaCha20Poly1305, all, rChaCha},
		{"AES-GCM, the client has AES-256 only", r, AESGCM, []uint16{rChaCha, rGCM256}, rGCM256},
		{"AES-GCM, the client has ChaCha20 only", r, AESGCM, []uint16{rChaCha}, rChaCha},
		{"AES-GCM, but not for this key", r, AESGCM, []uint16{ecGCM, rChaCha}, rChaCha},
		{"ChaCha20, the client has AES only", ec, ChaCha20Poly1305, []uint16{ecGCM}, ecGCM},
		{"ChaCha20, the client has CBC only", r, ChaCha20Poly1305, []uint16{rCBC}, rCBC},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, pool := configFor(t, tc.key)
			srv := NewServer(cfg)
			srv.PreferTLS12(tc.prefer)
			client := &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: tls.VersionTLS12,
				CipherSuites: tc.offered, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for _, resumed := range []bool{false, true} {
				l := newLaptop(t, srv, client)
				if err := l.handshake(4096); err != nil {
					t.Fatal(err)
				}
				state := l.sess.State()
				if state.CipherSuite != tc.want || state.DidResume != resumed {
					t.Errorf("got %s, resumed %v, want %s, %v", tls.CipherSuiteName(state.CipherSuite), state.DidResume,
						tls.CipherSuiteName(tc.want), resumed)
				}
				exchange(t, l)
			}
		})
	}
}

// exchange sends data in both directions, and closes.
func exchange(t *testing.T, l *laptop) {
	t.Helper()
	go func() {
		l.tls.Write([]byte("GET"))
		l.tls.CloseWrite()
	}()
	in, buf := make([]byte, 4096), make([]byte, 100)
	var got []byte
	for err := error(nil); ; {
		var n int
		n, err = l.sess.Read(buf)
		got = append(got, buf[:n]...)
		if err == ErrWouldBlock {
			if n, err = l.far.Read(in); err != nil {
				t.Fatal(err)
			}
			l.sess.Feed(in[:n])
		} else if err != nil {
			break
		}
	}
	if string(got) != "GET" {
		t.Errorf("server: got %q", got)
	}
	if _, err := l.sess.Write([]byte("firmware")); err != nil {
		t.Fatal(err)
	}
	if err := l.sess.CloseNotify(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.far.Write(l.sess.Output()); err != nil {
		t.Fatal(err)
	}
	all := make([]byte, 0, 100)
	for {
		n, err := l.tls.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			break
		}
	}
	if string(all) != "firmware" {
		t.Errorf("client: got %q", all)
	}
}

// TestAnyCipherChangesNothing: AnyCipher leaves the lists of crypto/tls as they are.
func TestAnyCipherChangesNothing(t *testing.T) {
	before, beforeNoAES := slices.Clone(defaultCipherSuitesTLS13), slices.Clone(defaultCipherSuitesTLS13NoAES)
	PreferTLS13(AnyCipher)
	if !slices.Equal(defaultCipherSuitesTLS13, before) || !slices.Equal(defaultCipherSuitesTLS13NoAES, beforeNoAES) {
		t.Error("the lists changed")
	}
	// Both ciphers together have all suites that crypto/tls knows; a further suite of a later Go
	// would be lost.
	slices.Sort(before)
	for _, c := range []Cipher{AESGCM, ChaCha20Poly1305} {
		got := c.suites13()
		if slices.Sort(got); !slices.Equal(got, before) {
			t.Errorf("%v has the suites %x, crypto/tls %x", c, got, before)
		}
	}
}

// TestPreferTLS12KeepsForbiddenSuites: a preference does not allow a suite that the caller forbids.
func TestPreferTLS12KeepsForbiddenSuites(t *testing.T) {
	const aes256, chacha = tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
	for _, tc := range []struct {
		name    string
		allowed []uint16
		want    uint16
	}{
		{"a part", []uint16{aes256, chacha}, aes256},
		{"none of them", []uint16{chacha}, chacha},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, pool := testConfig(t)
			cfg.CipherSuites = tc.allowed
			srv := NewServer(cfg)
			srv.PreferTLS12(AESGCM)
			l := newLaptop(t, srv, &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: tls.VersionTLS12})
			if err := l.handshake(4096); err != nil {
				t.Fatal(err)
			}
			if got := l.sess.State().CipherSuite; got != tc.want {
				t.Errorf("got %s, want %s", tls.CipherSuiteName(got), tls.CipherSuiteName(tc.want))
			}
		})
	}
}
