//go:build linux

package ktls

import (
	"crypto"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/tls"
	"slices"
	_ "unsafe" // for go:linkname
)

// crypto/tls has no setting for the cipher suites of TLS 1.3. It marks these two
// lists for go:linkname, with the promise not to remove or change them
// (crypto/tls/defaults.go, go.dev/issue/67401); if a list is removed, this package no
// longer links. The first list applies if both sides have AES instructions, the second
// otherwise. Each list is in the order of preference of a server.

//go:linkname defaultCipherSuitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var defaultCipherSuitesTLS13 []uint16

//go:linkname defaultCipherSuitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var defaultCipherSuitesTLS13NoAES []uint16

// A Cipher is a family of AEADs that clients and the kernel support.
type Cipher uint8

// The ciphers.
const (
	AnyCipher Cipher = iota // the choice of crypto/tls, by the instructions of both sides' processors
	AESGCM
	ChaCha20Poly1305
)

func (c Cipher) String() string {
	return [...]string{"any cipher", "AES-GCM", "ChaCha20-Poly1305"}[c]
}

// suites13 returns the cipher suites of TLS 1.3, those of c first.
func (c Cipher) suites13() []uint16 {
	var first, others []uint16
	for _, s := range suites {
		if s.Cipher == c {
			first = append(first, s.ID)
		} else {
			others = append(others, s.ID)
		}
	}
	return append(first, others...)
}

// PreferTLS13 makes all TLS 1.3 servers of this process choose c first, and all its
// clients offer c first, independent of the processors of both sides; AnyCipher
// changes nothing. A client that supports only the other cipher is served with that
// cipher. Call PreferTLS13 before the first handshake of the process, since
// crypto/tls reads the lists without a lock. In FIPS 140-3 mode it has no effect:
// crypto/tls then supports only AES-GCM.
func PreferTLS13(c Cipher) {
	if c == AnyCipher || fips140.Enabled() {
		return
	}
	defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = c.suites13(), c.suites13()
}

// PreferTLS12 makes the TLS 1.2 connections of s use c if the client and the
// certificate's key support it. The preference order of crypto/tls is fixed, but its
// list of allowed suites is not, so a client that offers c is allowed only the
// suites of c. Suites that tls.Config.CipherSuites does not allow stay forbidden. The
// only certificates considered are those in tls.Config.Certificates, of the
// configuration that GetConfigForClient returns if it returns one. Call PreferTLS12
// before the first Session.
func (s *Server) PreferTLS12(c Cipher) { s.prefer12 = c }

// suites12 returns the cipher suites of TLS 1.2 with c for the type of a certificate's key.
func (c Cipher) suites12(key crypto.PublicKey) []uint16 {
	_, isRSA := key.(*rsa.PublicKey)
	var all []uint16
	for _, s := range c.Suites() {
		if isRSA {
			all = append(all, s.rsa12)
		} else {
			all = append(all, s.ecdsa12)
		}
	}
	return all
}

// restrict returns the suites of TLS 1.2 to which c restricts a connection with cfg; nil if
// the client offers none of them. They do not affect TLS 1.3.
func (c Cipher) restrict(cfg *tls.Config, hello *tls.ClientHelloInfo) []uint16 {
	var suites []uint16
	for _, cert := range cfg.Certificates {
		if key, ok := cert.PrivateKey.(crypto.Signer); ok {
			suites = append(suites, c.suites12(key.Public())...)
		}
	}
	suites = slices.DeleteFunc(suites, func(id uint16) bool {
		return cfg.CipherSuites != nil && !slices.Contains(cfg.CipherSuites, id)
	})
	if !slices.ContainsFunc(suites, func(id uint16) bool { return slices.Contains(hello.CipherSuites, id) }) {
		return nil
	}
	return suites
}
