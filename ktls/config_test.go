//go:build linux

package ktls

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// bounded runs f, and fails the test if f does not return.
func bounded(t *testing.T, what string, f func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); f() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s blocks", what)
	}
}

// usesNothing calls the methods of s that need a complete handshake.
func usesNothing(t *testing.T, s *Session, want error) {
	t.Helper()
	for name, f := range map[string]func() error{
		"Read":        func() error { _, err := s.Read(make([]byte, 1)); return err },
		"Write":       func() error { _, err := s.Write([]byte("x")); return err },
		"CloseNotify": s.CloseNotify,
		"Offload":     func() error { _, err := s.Offload(FD(-1)); return err },
	} {
		bounded(t, name, func() {
			if err := f(); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", name, err, want)
			}
		})
	}
	bounded(t, "State", func() { s.State(); s.Suite() })
}

// TestHandshakeAgain: no method blocks before, during and after a handshake.
func TestHandshakeAgain(t *testing.T) {
	cfg, pool := testConfig(t)
	srv := NewServer(cfg)
	newSession := func(t *testing.T) *Session {
		s, err := srv.Session()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	again := func(t *testing.T, s *Session, input []byte, wantDone bool, want error) {
		t.Helper()
		for range 2 {
			bounded(t, "Handshake", func() {
				if done, err := s.Handshake(input); done != wantDone || !errors.Is(err, want) {
					t.Errorf("Handshake: got %v, %v, want %v, %v", done, err, wantDone, want)
				}
			})
		}
	}
	t.Run("before", func(t *testing.T) { usesNothing(t, newSession(t), errHandshake) })
	t.Run("during", func(t *testing.T) {
		s := newSession(t)
		again(t, s, []byte{22}, false, nil)
		usesNothing(t, s, errHandshake)
	})
	t.Run("failed", func(t *testing.T) {
		s := newSession(t)
		_, err := s.Handshake([]byte("GET / HTTP/1.1\r\n\r\n"))
		if err == nil {
			t.Fatal("the handshake took an HTTP request")
		}
		again(t, s, []byte("GET"), false, err)
		usesNothing(t, s, err)
		s.Close()
		again(t, s, nil, false, err)
	})
	t.Run("closed before it began", func(t *testing.T) {
		s := newSession(t)
		s.Close()
		again(t, s, nil, false, net.ErrClosed)
		usesNothing(t, s, net.ErrClosed)
	})
	t.Run("closed", func(t *testing.T) {
		s := newSession(t)
		again(t, s, []byte{22}, false, nil)
		s.Close()
		again(t, s, []byte{3}, false, net.ErrClosed)
		s.Close()
		usesNothing(t, s, net.ErrClosed)
	})
	t.Run("done", func(t *testing.T) {
		l := newLaptop(t, srv, clientConfig(pool))
		if err := l.handshake(4096); err != nil {
			t.Fatal(err)
		}
		again(t, l.sess, nil, true, nil)
		if _, err := l.tls.Write([]byte("GET")); err != nil {
			t.Fatal(err)
		}
		in := make([]byte, 4096)
		n, err := l.far.Read(in)
		if err != nil {
			t.Fatal(err)
		}
		if done, err := l.sess.Handshake(in[:n]); !done || err != nil { // takes it as Feed does
			t.Fatal(done, err)
		}
		if n, err := l.sess.Read(in); err != nil || string(in[:n]) != "GET" {
			t.Errorf("got %q, %v", in[:n], err)
		}
		l.sess.Close()
		again(t, l.sess, nil, true, nil)
	})
}

// TestKeyLog: the caller's KeyLogWriter gets the lines that the client has.
func TestKeyLog(t *testing.T) {
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
					t.Errorf("the server's key log is without %s", line)
				}
			}
			if client.Len() == 0 || server.Len() != client.Len() {
				t.Errorf("the key log has %d bytes, the client's %d", server.Len(), client.Len())
			}
			if l.sess.keys == nil {
				t.Error("no keys to hand over")
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
// connection can be handed over all the same, with each preference.
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
						t.Errorf("can be handed over: %v", offloads)
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

// TestPreferAllowed: a preference does not allow a suite that the caller forbids.
func TestPreferAllowed(t *testing.T) {
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

// TestCallersTicketKeys: the caller's keys of session tickets are used, as two servers
// show that share nothing else; without them a server has keys of its own.
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
