package ktls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
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
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"board"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
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

// laptop is a crypto/tls client whose peer is a Session that the test moves.
type laptop struct {
	t    *testing.T
	tls  *tls.Conn
	far  net.Conn // the server's end of the wire
	sess *Session
}

func newLaptop(t *testing.T, srv *Server, cfg *tls.Config) *laptop {
	t.Helper()
	near, far := socketPair(t)
	sess, err := srv.Session()
	if err != nil {
		t.Fatal(err)
	}
	l := &laptop{t: t, tls: tls.Client(near, cfg), far: far, sess: sess}
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

// seal does what the kernel does with k: one record of data, RFC 8446 section 5.2.
func seal(t *testing.T, k *txKeys, contentType byte, data []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(k.key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := k.iv
	for i, b := range binary.BigEndian.AppendUint64(nil, k.seq) {
		nonce[4+i] ^= b
	}
	k.seq++
	inner := append(bytes.Clone(data), contentType)
	head := []byte{recordApplicationData, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(inner)+aead.Overhead()))
	return append(head, aead.Seal(nil, nonce[:], inner, head)...)
}

// TestHandOver lets the test be the kernel: what it seals with the keys and the
// sequence number of the session must open at the client.
func TestHandOver(t *testing.T) {
	for _, tc := range []struct {
		name    string
		tickets bool
		step    int // bytes the session is fed at a time
		wantSeq uint64
	}{
		{"no tickets", false, 4096, 0},
		{"one ticket", true, 4096, 1},
		{"one ticket, byte by byte", true, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, pool := testConfig(t)
			cfg.SessionTicketsDisabled = !tc.tickets
			// A client asks for tickets only if it has a place for them.
			cache := tls.NewLRUClientSessionCache(1)
			l := newLaptop(t, NewServer(cfg), &tls.Config{RootCAs: pool, ServerName: "board", ClientSessionCache: cache})
			if err := l.handshake(tc.step); err != nil {
				t.Fatal(err)
			}
			k := l.sess.keys
			if k == nil {
				t.Fatalf("no keys for %s", tls.CipherSuiteName(l.sess.State().CipherSuite))
			}
			if k.seq != tc.wantSeq {
				t.Errorf("sequence number: got %d, want %d", k.seq, tc.wantSeq)
			}
			go func() {
				l.far.Write(seal(t, k, recordApplicationData, []byte("firmware")))
				payload, _ := CloseNotify()
				l.far.Write(seal(t, k, recordAlert, payload))
			}()
			got, err := io.ReadAll(l.tls)
			if err != nil || string(got) != "firmware" {
				t.Errorf("client: got %q, %v; want firmware and a clean end", got, err)
			}
		})
	}
}

func TestNotHandedOver(t *testing.T) {
	cfg, pool := testConfig(t)
	l := newLaptop(t, NewServer(cfg), &tls.Config{RootCAs: pool, ServerName: "board", MaxVersion: tls.VersionTLS12})
	if err := l.handshake(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := l.sess.Offload(FD(-1)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Offload of TLS 1.2: got %v, want ErrUnsupported", err)
	}
	// ... and the session goes on in user space, to a clean end.
	go func() {
		l.sess.Write([]byte("firmware"))
		l.sess.CloseNotify()
		l.far.Write(l.sess.Output())
	}()
	if got, err := io.ReadAll(l.tls); err != nil || string(got) != "firmware" {
		t.Errorf("client: got %q, %v; want firmware and a clean end", got, err)
	}
}

// TestReadResumes feeds a request byte by byte: every Read but the last ones
// must say ErrWouldBlock, and nothing may be lost.
func TestReadResumes(t *testing.T) {
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

// TestResumption: ticket keys must survive the copy of the configuration that
// each connection gets.
func TestResumption(t *testing.T) {
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

// TestSealedWrite: once the kernel has the keys, a session that would send by
// itself must fail instead, and put nothing on the wire.
func TestSealedWrite(t *testing.T) {
	cfg, pool := testConfig(t)
	l := newLaptop(t, NewServer(cfg), &tls.Config{RootCAs: pool, ServerName: "board"})
	if err := l.handshake(4096); err != nil {
		t.Fatal(err)
	}
	l.sess.wire.mode = wireSealed
	l.sess.Feed([]byte{recordApplicationData, 3, 3, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7})
	if _, err := l.sess.Read(make([]byte, 16)); err == nil || err == ErrWouldBlock {
		t.Errorf("Read of a forged record: got %v, want an error", err)
	}
	if out := l.sess.Output(); len(out) > 0 {
		t.Errorf("%d bytes to send after the hand-over", len(out))
	}
}

// TestPlainHTTP: a client that speaks HTTP to the TLS port gets no HTTP back.
func TestPlainHTTP(t *testing.T) {
	cfg, _ := testConfig(t)
	s, err := NewServer(cfg).Session()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Handshake([]byte("GET / HTTP/1.1\r\nHost: board\r\n\r\n")); err == nil {
		t.Error("the handshake took an HTTP request")
	}
	if out := s.Output(); bytes.Contains(out, []byte("HTTP")) {
		t.Errorf("output %q", out)
	}
}

// TestCloseInHandshake: a client that vanishes leaves no goroutine waiting.
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

func TestCountRecordsCutShort(t *testing.T) {
	k, err := deriveKeys(tls.TLS_AES_128_GCM_SHA256, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, flight := range [][]byte{{23}, {23, 3, 3, 0, 20, 1}, {22, 3, 3, 255, 255}} {
		if _, err := k.countRecords(flight); err == nil {
			t.Errorf("countRecords(%v): no error", flight)
		}
	}
}

// TestDeriveKeys uses the server's application traffic keys of RFC 8448 section 3.
func TestDeriveKeys(t *testing.T) {
	var log secretLog
	fmt.Fprintf(&log, "CLIENT_TRAFFIC_SECRET_0 00 11\n")
	fmt.Fprintf(&log, "SERVER_TRAFFIC_SECRET_0 00 a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643\n")
	k, err := deriveKeys(tls.TLS_AES_128_GCM_SHA256, log.secret)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%x %x", k.key, k.iv), "9f02283b6c9c07efc26bb9f2ac92e356 cf782b88dd83549aadf1e984"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
