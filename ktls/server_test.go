//go:build linux

package ktls

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"testing"
)

// TestKeyLogIsForwarded: the caller's KeyLogWriter receives the same lines as the client's.
func TestKeyLogIsForwarded(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			var server, client bytes.Buffer
			cfg, pool := testConfig(t)
			cfg.KeyLogWriter = &server
			l := newLaptop(t, NewServer(cfg), &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: version, KeyLogWriter: &client})
			if err := l.handshake(4096); err != nil {
				t.Fatal(err)
			}
			for _, line := range bytes.SplitAfter(client.Bytes(), []byte("\n")) {
				if !bytes.Contains(server.Bytes(), line) {
					t.Errorf("the server's key log lacks %s", line)
				}
			}
			if client.Len() == 0 || server.Len() != client.Len() {
				t.Errorf("the key log has %d bytes, the client's %d", server.Len(), client.Len())
			}
			if l.sess.keys == nil {
				t.Error("no keys for Offload")
			}
		})
	}
	t.Run("fails", func(t *testing.T) {
		cfg, pool := testConfig(t)
		r, w := io.Pipe()
		r.Close()
		cfg.KeyLogWriter = w
		l := newLaptop(t, NewServer(cfg), clientConfig(pool))
		ended := make(chan error, 1)
		go func() { ended <- l.tls.Handshake(); l.near.Close(); close(ended) }()
		if err := l.serve(ended, 4096); err == nil {
			t.Error("the handshake does not fail with the caller's KeyLogWriter")
		}
		l.far.Close()
		<-ended
	})
}

// TestGetConfigForClient: the configuration that the callback returns is used, and the
// connection can be offloaded nevertheless, with each preference.
func TestGetConfigForClient(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, prefer := range []Cipher{AnyCipher, AESGCM, ChaCha20Poly1305} {
			t.Run(tls.VersionName(version)+"/"+prefer.String(), func(t *testing.T) {
				key, err := rsa.GenerateKey(rand.Reader, 2048)
				if err != nil {
					t.Fatal(err)
				}
				base, _ := testConfig(t)
				chosen, pool := configFor(t, key) // the other kind of key
				var log, baseLog bytes.Buffer
				chosen.KeyLogWriter, base.KeyLogWriter = &log, &baseLog
				base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					if hello.ServerName != "board" || hello.Conn.RemoteAddr().String() != "" {
						t.Errorf("called with %+v", hello)
					}
					return chosen, nil
				}
				srv := NewServer(base)
				srv.PreferTLS12(prefer)
				client := &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: version,
					ClientSessionCache: tls.NewLRUClientSessionCache(1)}
				for _, resumed := range []bool{false, true} {
					l := newLaptop(t, srv, client)
					if err := l.handshake(4096); err != nil {
						t.Fatal(err)
					}
					state := l.sess.State()
					if state.DidResume != resumed {
						t.Errorf("resumed: got %v, want %v", state.DidResume, resumed)
					}
					if version == tls.VersionTLS12 && prefer != AnyCipher && l.sess.Suite() != prefer.suites13()[0] {
						t.Errorf("got %s", tls.CipherSuiteName(state.CipherSuite))
					}
					// A resumed session of TLS 1.2 has no secret in the log.
					if offloads := l.sess.keys != nil; offloads != (version == tls.VersionTLS13 || !resumed) {
						t.Errorf("can be offloaded: %v", offloads)
					}
					exchange(t, l)
				}
				if log.Len() == 0 || baseLog.Len() > 0 {
					t.Errorf("%d bytes in the key log of the configuration in use, %d in the other", log.Len(), baseLog.Len())
				}
				if chosen.KeyLogWriter != &log || chosen.CipherSuites != nil {
					t.Error("the caller's configuration has changed")
				}
			})
		}
	}
	t.Run("nil", func(t *testing.T) {
		cfg, pool := testConfig(t)
		calls := 0
		cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { calls++; return nil, nil }
		srv := NewServer(cfg)
		srv.PreferTLS12(AESGCM)
		l := newLaptop(t, srv, clientConfig(pool))
		if err := l.handshake(4096); err != nil || calls != 1 || l.sess.keys == nil {
			t.Errorf("%v, called %d times, keys: %v", err, calls, l.sess.keys != nil)
		}
	})
	t.Run("error", func(t *testing.T) {
		cfg, pool := testConfig(t)
		refused := errors.New("refused")
		cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, refused }
		l := newLaptop(t, NewServer(cfg), clientConfig(pool))
		ended := make(chan error, 1)
		go func() { ended <- l.tls.Handshake(); close(ended) }()
		if err := l.serve(ended, 4096); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		<-ended
	})
}

// TestCallersTicketKeys: the caller's keys of session tickets are used: two servers that share only
// these resume each other's sessions. Without them each server has its own keys.
func TestCallersTicketKeys(t *testing.T) {
	key := [32]byte{1, 2, 3}
	for _, tc := range []struct {
		name string
		set  func(cfg *tls.Config)
		want bool
	}{
		{"none", func(*tls.Config) {}, false},
		{"SetSessionTicketKeys", func(cfg *tls.Config) { cfg.SetSessionTicketKeys([][32]byte{key}) }, true},
		//lint:ignore SA1019 callers may still use it
		{"SessionTicketKey", func(cfg *tls.Config) { cfg.SessionTicketKey = key }, true},
		{"those of GetConfigForClient", func(cfg *tls.Config) {
			chosen := cfg.Clone()
			chosen.SetSessionTicketKeys([][32]byte{key})
			cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil }
		}, true},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tc.name+"/"+tls.VersionName(version), func(t *testing.T) {
				cfg, pool := testConfig(t)
				client := &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
				for i := range 2 {
					own := cfg.Clone()
					tc.set(own)
					l := newLaptop(t, NewServer(own), client)
					if err := l.handshake(4096); err != nil {
						t.Fatal(err)
					}
					exchange(t, l)
					if got := l.sess.State().DidResume; got != (i == 1 && tc.want) {
						t.Errorf("connection %d: resumed %v", i, got)
					}
				}
			})
		}
	}
}

// TestSessionsResume: the sessions of a Server share ticket keys, although each has its own copy of
// the configuration.
func TestSessionsResume(t *testing.T) {
	cfg, pool := testConfig(t)
	srv := NewServer(cfg)
	client := &tls.Config{RootCAs: pool, ServerName: "board", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i, want := range []bool{false, true} {
		l := newLaptop(t, srv, client)
		if err := l.handshake(4096); err != nil {
			t.Fatal(err)
		}
		go l.far.Write(seal(t, l.sess.keys, recordApplicationData, []byte("x")))
		if _, err := l.tls.Read(make([]byte, 1)); err != nil { // takes the ticket too
			t.Fatal(err)
		}
		if got := l.tls.ConnectionState().DidResume; got != want {
			t.Errorf("connection %d: resumed %v, want %v", i, got, want)
		}
	}
}
