//go:build linux

package ktls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

func testConfig(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return configFor(t, key)
}

func configFor(t *testing.T, key crypto.Signer) (*tls.Config, *x509.CertPool) {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"board"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func clientConfig(pool *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: pool, ServerName: "board"}
}

// A laptop is a crypto/tls client whose peer is a Session that the test drives.
type laptop struct {
	t    *testing.T
	tls  *tls.Conn
	near net.Conn // the client's end of the wire
	far  net.Conn // the server's
	sess *Session
}

func newLaptop(t *testing.T, srv *Server, cfg *tls.Config) *laptop {
	t.Helper()
	near, far := socketPair(t)
	sess, err := srv.Session()
	if err != nil {
		t.Fatal(err)
	}
	l := &laptop{t: t, tls: tls.Client(near, cfg), near: near, far: far, sess: sess}
	t.Cleanup(sess.Close)
	for _, c := range []net.Conn{near, far} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return l
}

func socketPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// handshake runs both sides, feeding the session at most step bytes at a time.
func (l *laptop) handshake(step int) error {
	client := make(chan error, 1)
	go func() { client <- l.tls.Handshake() }()
	return l.serve(client, step)
}

// serve runs the session's side. client receives the result of the client's side.
func (l *laptop) serve(client <-chan error, step int) error {
	in := make([]byte, step)
	var input []byte
	for {
		done, err := l.sess.Handshake(input)
		if out := l.sess.Output(); len(out) > 0 {
			if _, werr := l.far.Write(out); werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
		if done {
			return <-client
		}
		n, err := l.far.Read(in)
		if err != nil {
			return err
		}
		input = in[:n]
	}
}

// withPreference sets the order of cipher suites for one test. The tests of this
// package do not run in parallel.
func withPreference(t *testing.T, suites []uint16) {
	t.Helper()
	before, beforeNoAES := defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES
	t.Cleanup(func() { defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = before, beforeNoAES })
	defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = suites, suites
}

// TestOffloadKeys: the client opens records that the test seals with the keys and the sequence
// number of the session, as the kernel would.
func TestOffloadKeys(t *testing.T) {
	aes256 := []uint16{tls.TLS_AES_256_GCM_SHA384, tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256}
	for _, suites := range [][]uint16{AESGCM.suites13(), ChaCha20Poly1305.suites13(), aes256} {
		for _, tc := range []struct {
			name    string
			tickets bool
			certs   bool // of clients: the ticket is then a flight of its own
			step    int  // bytes the session is fed at a time
			wantSeq uint64
		}{
			{"no tickets", false, false, 4096, 0},
			{"one ticket", true, false, 4096, 1},
			{"one ticket, byte by byte", true, false, 1, 1},
			{"one ticket, after the client's certificate", true, true, 4096, 1},
		} {
			t.Run(tls.CipherSuiteName(suites[0])+"/"+tc.name, func(t *testing.T) {
				withPreference(t, suites)
				cfg, pool := testConfig(t)
				cfg.SessionTicketsDisabled = !tc.tickets
				// A client asks for tickets only if it has a place for them.
				client := &tls.Config{RootCAs: pool, ServerName: "board", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
				if tc.certs {
					cfg.ClientAuth, client.Certificates = tls.RequireAnyClientCert, cfg.Certificates
				}
				l := newLaptop(t, NewServer(cfg), client)
				if err := l.handshake(tc.step); err != nil {
					t.Fatal(err)
				}
				if got := l.sess.State().CipherSuite; got != suites[0] {
					t.Errorf("cipher suite: got %s, want %s", tls.CipherSuiteName(got), tls.CipherSuiteName(suites[0]))
				}
				k := l.sess.keys
				if k == nil {
					t.Fatal("no keys")
				}
				if k.seq != tc.wantSeq {
					t.Errorf("sequence number: got %d, want %d", k.seq, tc.wantSeq)
				}
				go func() {
					l.far.Write(seal(t, k, recordApplicationData, []byte("firmware")))
					l.far.Write(seal(t, k, recordAlert, CloseNotify().Payload))
				}()
				got, err := io.ReadAll(l.tls)
				if err != nil || string(got) != "firmware" {
					t.Errorf("client: got %q, %v; want firmware and a clean end", got, err)
				}
			})
		}
	}
}

// TestReadContinuesAfterWouldBlock feeds a request byte by byte: every Read but the last ones
// returns ErrWouldBlock, and no byte is lost.
func TestReadContinuesAfterWouldBlock(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			cfg, pool := testConfig(t)
			l := newLaptop(t, NewServer(cfg), &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: version})
			if err := l.handshake(4096); err != nil {
				t.Fatal(err)
			}
			go func() {
				l.tls.Write([]byte("GET / "))
				l.tls.Write([]byte("HTTP/1.1"))
				l.tls.CloseWrite()
			}()
			var got []byte
			one, buf := make([]byte, 1), make([]byte, 64)
			for {
				n, err := l.sess.Read(buf)
				got = append(got, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err == nil {
					continue
				}
				if err != ErrWouldBlock {
					t.Fatal(err)
				}
				if _, err := l.far.Read(one); err != nil {
					t.Fatal(err)
				}
				l.sess.Feed(one)
			}
			if string(got) != "GET / HTTP/1.1" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestPlainHTTPFails: an HTTP request on a TLS port gets no HTTP response.
func TestPlainHTTPFails(t *testing.T) {
	cfg, _ := testConfig(t)
	s, err := NewServer(cfg).Session()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Handshake([]byte("GET / HTTP/1.1\r\nHost: board\r\n\r\n")); err == nil {
		t.Error("the handshake accepts an HTTP request")
	}
	if out := s.Output(); bytes.Contains(out, []byte("HTTP")) {
		t.Errorf("output %q", out)
	}
}

// TestCloseInHandshake: Close ends the goroutine of a handshake that waits for the client.
func TestCloseInHandshake(t *testing.T) {
	cfg, _ := testConfig(t)
	s, err := NewServer(cfg).Session()
	if err != nil {
		t.Fatal(err)
	}
	if done, err := s.Handshake([]byte{22, 3, 1}); done || err != nil {
		t.Fatalf("got %v, %v", done, err)
	}
	s.Close()
	s.Close()
}

// bounded runs f, and fails the test if f does not return in time.
func bounded(t *testing.T, name string, f func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); f() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s blocks", name)
	}
}

// checkNotDone calls the methods of s that need a complete handshake: each must return the error
// want.
func checkNotDone(t *testing.T, s *Session, want error) {
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

// TestNoMethodBlocks: no method blocks before, during and after a handshake.
func TestNoMethodBlocks(t *testing.T) {
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
	t.Run("before", func(t *testing.T) { checkNotDone(t, newSession(t), errHandshake) })
	t.Run("during", func(t *testing.T) {
		s := newSession(t)
		again(t, s, []byte{22}, false, nil)
		checkNotDone(t, s, errHandshake)
	})
	t.Run("failed", func(t *testing.T) {
		s := newSession(t)
		_, err := s.Handshake([]byte("GET / HTTP/1.1\r\n\r\n"))
		if err == nil {
			t.Fatal("the handshake accepts an HTTP request")
		}
		again(t, s, []byte("GET"), false, err)
		checkNotDone(t, s, err)
		s.Close()
		again(t, s, nil, false, err)
	})
	t.Run("closed before it began", func(t *testing.T) {
		s := newSession(t)
		s.Close()
		again(t, s, nil, false, net.ErrClosed)
		checkNotDone(t, s, net.ErrClosed)
	})
	t.Run("closed", func(t *testing.T) {
		s := newSession(t)
		again(t, s, []byte{22}, false, nil)
		s.Close()
		again(t, s, []byte{3}, false, net.ErrClosed)
		s.Close()
		checkNotDone(t, s, net.ErrClosed)
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
