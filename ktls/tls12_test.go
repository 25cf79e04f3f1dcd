//go:build linux

package ktls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"testing"

	"uringhttpd/test/rawtls"
)

// TestOffloadKeys12: with each cipher of TLS 1.2 the client opens records that the test seals with
// the session's keys, as the kernel would. A violation is answered by an alert for the kernel to
// send. A resumed session stays in user space.
func TestOffloadKeys12(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	as13 := map[uint16]uint16{}
	for _, s := range Suites() {
		as13[s.rsa12], as13[s.ecdsa12] = s.ID, s.ID
	}
	for id, want := range as13 {
		t.Run(tls.CipherSuiteName(id), func(t *testing.T) {
			for _, key := range []crypto.Signer{ec, r} {
				cfg, pool := configFor(t, key)
				srv := NewServer(cfg)
				client := clientConfig(pool)
				client.MaxVersion, client.CipherSuites = tls.VersionTLS12, []uint16{id}
				client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for _, resumed := range []bool{false, true} {
					l := newLaptop(t, srv, client)
					if err := l.handshake(4096); err != nil {
						break // the suite is not for this key
					}
					if l.sess.State().DidResume != resumed || l.sess.Suite() != want {
						t.Fatalf("resumed %v, suite %x", l.sess.State().DidResume, l.sess.Suite())
					}
					k := l.sess.keys
					if resumed { // crypto/tls does not log its secret
						if _, err := l.sess.Offload(FD(-1)); k != nil || !errors.Is(err, errors.ErrUnsupported) {
							t.Errorf("Offload of a resumed session: %v", err)
						}
						exchange(t, l)
						continue
					}
					far := *k // the kernel's
					l.sess.captureOwn()
					l.sess.Feed([]byte{rawtls.ApplicationData, 3, 3, 0xff, 0xff})
					_, wants, err := readAll(l.sess)
					if err == nil || err == ErrWouldBlock || len(wants) != 1 || wants[0].String() != tls.AlertError(rawtls.RecordOverflow).Error() {
						t.Errorf("after a broken record: %v, %v", wants, err)
					}
					go func() {
						l.far.Write(seal(t, &far, recordApplicationData, []byte("firm")))
						l.far.Write(seal(t, &far, recordApplicationData, []byte("ware")))
						l.far.Write(seal(t, &far, recordAlert, CloseNotify().Payload))
					}()
					if got, err := io.ReadAll(l.tls); err != nil || string(got) != "firmware" {
						t.Errorf("client: got %q, %v; want firmware and a clean end", got, err)
					}
				}
			}
		})
	}
}

// TestUnsupportedSuite12: a suite that kernel TLS does not support stays in user space.
func TestUnsupportedSuite12(t *testing.T) {
	cfg, pool := testConfig(t)
	client := clientConfig(pool)
	client.MaxVersion, client.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	l := newLaptop(t, NewServer(cfg), client)
	if err := l.handshake(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := l.sess.Offload(FD(-1)); !errors.Is(err, errors.ErrUnsupported) || l.sess.Suite() != 0 {
		t.Errorf("Offload: got %v, want ErrUnsupported; suite %x", err, l.sess.Suite())
	}
	exchange(t, l)
}

func TestServerRandom(t *testing.T) {
	hello := append([]byte{recordHandshake, 3, 3, 0, 38, handshakeServerHello, 0, 0, 34, 3, 3}, make([]byte, 32)...)
	if r, err := serverRandom(hello); err != nil || len(r) != 32 {
		t.Errorf("got %d bytes, %v", len(r), err)
	}
	for _, bad := range [][]byte{nil, hello[:42], {recordAlert, 3, 3, 0, 38, 42: 0}, {recordHandshake, 3, 3, 0, 38, 1, 42: 0}} {
		if _, err := serverRandom(bad); err == nil {
			t.Errorf("% x: no error", bad)
		}
	}
}
