//go:build linux

package ktls

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// Names of algorithms in the kernel's crypto API, as in /proc/crypto.
const (
	AlgorithmGCM      = "gcm(aes)"
	AlgorithmChaCha20 = "rfc7539(chacha20,poly1305)"
)

// A Suite is a cipher suite of TLS 1.3 that crypto/tls and kernel TLS support. It also stands for
// the cipher suites of TLS 1.2 with the same AEAD and hash.
type Suite struct {
	ID        uint16 // of TLS 1.3, as in crypto/tls
	Cipher    Cipher // AESGCM or ChaCha20Poly1305
	Algorithm string // AlgorithmGCM or AlgorithmChaCha20: the crypto driver of this algorithm encrypts

	rsa12, ecdsa12 uint16 // cipher suites of TLS 1.2, with ECDHE and a certificate of this type
	hash           func() hash.Hash
	newAEAD        func(key []byte) (cipher.AEAD, error)
	cipherType     uint16 // TLS_CIPHER_*
	keySize        int    // bytes
	// saltSize is the bytes of the salt, the fixed part of the nonce in TLS 1.2. The other 8 bytes
	// are explicit: each record carries them. 0 means that no part of the nonce is explicit.
	saltSize int
}

// Sizes in bytes that all suites have in common.
const (
	nonceSize    = 12
	tagSize      = 16
	headerSize   = 5 // of a record
	explicitSize = 8 // the part of a nonce that a record carries, if any
	sequenceSize = 8
)

// suites is the only table of cipher suites. The order is that of preference on a processor with
// AES instructions.
var suites = [...]Suite{
	{
		ID: tls.TLS_AES_128_GCM_SHA256, Cipher: AESGCM, Algorithm: AlgorithmGCM,
		rsa12: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, ecdsa12: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		hash: sha256.New, newAEAD: newGCM, cipherType: cipherAESGCM128, keySize: 16, saltSize: 4,
	},
	{
		ID: tls.TLS_AES_256_GCM_SHA384, Cipher: AESGCM, Algorithm: AlgorithmGCM,
		rsa12: tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, ecdsa12: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		hash: sha512.New384, newAEAD: newGCM, cipherType: cipherAESGCM256, keySize: 32, saltSize: 4,
	},
	{
		ID: tls.TLS_CHACHA20_POLY1305_SHA256, Cipher: ChaCha20Poly1305, Algorithm: AlgorithmChaCha20,
		rsa12: tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, ecdsa12: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		hash: sha256.New, newAEAD: newChaCha20Poly1305, cipherType: cipherChaCha20Poly1305, keySize: chacha20poly1305.KeySize,
	},
}

// Suites returns all cipher suites that Offload supports.
func Suites() []Suite { return slices.Clone(suites[:]) }

// SuiteOf returns the suite with the number id in TLS 1.3. It reports whether Offload supports id.
func SuiteOf(id uint16) (Suite, bool) {
	return suiteWhere(func(s *Suite) bool { return s.ID == id })
}

// suiteOf12 returns the suite for the cipher suite id of TLS 1.2.
func suiteOf12(id uint16) (Suite, bool) {
	return suiteWhere(func(s *Suite) bool { return s.rsa12 == id || s.ecdsa12 == id })
}

// Suites returns the suites with c.
func (c Cipher) Suites() []Suite {
	return slices.DeleteFunc(Suites(), func(s Suite) bool { return s.Cipher != c })
}

// Suite returns the number in TLS 1.3 of the first suite with c; 0 for AnyCipher.
func (c Cipher) Suite() uint16 {
	s, _ := suiteWhere(func(s *Suite) bool { return s.Cipher == c })
	return s.ID
}

func suiteWhere(match func(s *Suite) bool) (Suite, bool) {
	for i := range suites {
		if match(&suites[i]) {
			return suites[i], true
		}
	}
	return Suite{}, false
}

// Name returns the name of the suite, as in crypto/tls.
func (s *Suite) Name() string { return tls.CipherSuiteName(s.ID) }

// infoSize is the size in bytes of the argument of TLS_TX: the structure that cryptoInfo encodes.
func (s *Suite) infoSize() int { return versionSize + nonceSize + s.keySize + sequenceSize }

// maxInfoSize is the largest infoSize.
const maxInfoSize = versionSize + nonceSize + 32 + sequenceSize

func unsupported(id uint16) error {
	return fmt.Errorf("ktls: cipher suite %s: %w", tls.CipherSuiteName(id), errors.ErrUnsupported)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// newChaCha20Poly1305 uses golang.org/x/crypto, since the standard library exports no
// ChaCha20-Poly1305. It fails where only FIPS 140-3 algorithms are allowed.
func newChaCha20Poly1305(key []byte) (cipher.AEAD, error) {
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return aead, nil
}
