//go:build linux

package ktls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"unsafe"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is a cipher suite in the terms of the kernel's interface.
type suite struct {
	hash     func() hash.Hash
	keyLen   int
	info     func(k *txKeys) []byte // the argument of setsockopt(SOL_TLS, TLS_TX)
	opener   func(key []byte) (opener, error)
	gcm      bool
	version  uint16
	overhead int64 // bytes that a record adds to its plaintext
}

// An opener returns the plaintext, or nil if the tag does not authenticate the
// nonce, the additional data and the ciphertext under its key.
type opener func(nonce *[12]byte, additional, sealed []byte) []byte

// suiteOf returns the suite of a TLS 1.3 cipher suite that Offload supports.
func suiteOf(id uint16) (suite, bool) {
	s := suite{hash: sha256.New, version: tls13Version, overhead: 5 + 1 + tagSize} // header, content type, tag
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		s.keyLen, s.info, s.opener, s.gcm = 16, infoAESGCM128, openAESGCM, true
	case tls.TLS_AES_256_GCM_SHA384:
		s.hash = sha512.New384
		s.keyLen, s.info, s.opener, s.gcm = 32, infoAESGCM256, openAESGCM, true
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		s.keyLen, s.info, s.opener = chacha20poly1305.KeySize, infoChaCha20Poly1305, openChaCha20Poly1305
	default:
		return suite{}, false
	}
	return s, true
}

// txKeys are the sending keys of one direction of a connection.
type txKeys struct {
	suite  suite
	secret []byte // traffic secret of the keys; nil with TLS 1.2
	key    []byte
	iv     [12]byte
	seq    uint64 // sequence number of the next record
	open   opener
}

// deriveKeys derives the keys from a traffic secret: RFC 8446 section 7.3.
func deriveKeys(cipherSuite uint16, secret []byte) (*txKeys, error) {
	s, ok := suiteOf(cipherSuite)
	if !ok {
		return nil, fmt.Errorf("ktls: cipher suite %s: %w", tls.CipherSuiteName(cipherSuite), errors.ErrUnsupported)
	}
	return s.keys(secret)
}

func (s suite) keys(secret []byte) (*txKeys, error) {
	k := &txKeys{suite: s, secret: secret}
	var err error
	if k.key, err = expandLabel(s.hash, secret, "key", s.keyLen); err != nil {
		return nil, err
	}
	iv, err := expandLabel(s.hash, secret, "iv", len(k.iv))
	if err != nil {
		return nil, err
	}
	copy(k.iv[:], iv)
	if k.open, err = s.opener(k.key); err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	return k, nil
}

// next returns the keys after a key update: RFC 8446 section 7.2.
func (k *txKeys) next() (*txKeys, error) {
	secret, err := expandLabel(k.suite.hash, k.secret, "traffic upd", len(k.secret))
	if err != nil {
		return nil, err
	}
	return k.suite.keys(secret)
}

// expandLabel is HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context.
func expandLabel(h func() hash.Hash, secret []byte, label string, n int) ([]byte, error) {
	info := make([]byte, 0, 32)
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0)
	out, err := hkdf.Expand(h, secret, string(info), n)
	if err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	return out, nil
}

// countRecords returns the number of records at the end of flight that were sealed
// under k, with sequence numbers from 0: session tickets use the same keys as
// application data, and the kernel must continue with the next sequence number of
// crypto/tls.
func (k *txKeys) countRecords(flight []byte) (uint64, error) {
	seq := uint64(0)
	for len(flight) > 0 {
		var record []byte
		if record, flight = cutRecord(flight); record == nil {
			return 0, errors.New("ktls: the handshake's last record is not whole")
		}
		if record[0] != recordApplicationData {
			continue // ServerHello, or a change_cipher_spec, which has no meaning in TLS 1.3
		}
		if seq > 0 {
			seq++ // after the first such record, the handshake keys are not used again
		} else if m, ok := k.message(0, record); ok && m.isTicket() {
			seq = 1
		}
	}
	return seq, nil
}

// cutRecord returns the first record of stream, header included, and the rest of
// stream; record is nil if it is incomplete.
func cutRecord(stream []byte) (record, rest []byte) {
	const header = 5
	if len(stream) < header {
		return nil, stream
	}
	n := header + int(binary.BigEndian.Uint16(stream[3:]))
	if len(stream) < n {
		return nil, stream
	}
	return stream[:n], stream[n:]
}

// message opens a record: RFC 8446 sections 5.2 and 5.3. It returns false for a
// record that is not sealed under k with the sequence number seq.
func (k *txKeys) message(seq uint64, record []byte) (Message, bool) {
	if len(record) < 5+tagSize {
		return Message{}, false
	}
	if k.suite.version == tls12Version {
		return k.message12(seq, record)
	}
	nonce := k.nonce(seq)
	inner := bytes.TrimRight(k.open(&nonce, record[:5], record[5:]), "\x00") // the padding
	if len(inner) == 0 {
		return Message{}, false
	}
	last := len(inner) - 1
	return Message{Type: inner[last], Payload: inner[:last]}, true
}

func (k *txKeys) nonce(seq uint64) [12]byte {
	nonce := k.iv
	for i, b := range binary.BigEndian.AppendUint64(nil, seq) {
		nonce[4+i] ^= b
	}
	return nonce
}

const tagSize = 16 // bytes, of every AEAD here

func openAESGCM(key []byte) (opener, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return openAEAD(aead), nil
}

// openChaCha20Poly1305 uses golang.org/x/crypto, since the standard library exports no
// ChaCha20-Poly1305. It fails where only FIPS 140-3 algorithms are allowed.
func openChaCha20Poly1305(key []byte) (opener, error) {
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return openAEAD(aead), nil
}

func openAEAD(aead cipher.AEAD) opener {
	return func(nonce *[12]byte, additional, sealed []byte) []byte {
		inner, err := aead.Open(nil, nonce[:], sealed, additional)
		if err != nil {
			return nil
		}
		return inner
	}
}

// secretLog is the KeyLogWriter of a connection. It keeps the secret that Offload
// needs, and forwards each line.
type secretLog struct {
	next         io.Writer // the caller's KeyLogWriter, or nil
	secret       []byte    // the server's first application traffic secret; with TLS 1.2 the master secret
	clientRandom []byte
}

// Write accepts a line of the NSS key log format: label, client random, secret.
func (l *secretLog) Write(line []byte) (int, error) {
	if err := l.keep(bytes.Fields(line)); err != nil {
		return 0, fmt.Errorf("ktls: key log: %w", err)
	}
	if l.next == nil {
		return len(line), nil
	}
	return l.next.Write(line)
}

func (l *secretLog) keep(fields [][]byte) error {
	if len(fields) != 3 || string(fields[0]) != "SERVER_TRAFFIC_SECRET_0" && string(fields[0]) != "CLIENT_RANDOM" {
		return nil
	}
	random, err := hex.DecodeString(string(fields[1]))
	if err != nil {
		return err
	}
	secret, err := hex.DecodeString(string(fields[2]))
	if err != nil {
		return err
	}
	l.clientRandom, l.secret = random, secret
	return nil
}

func infoAESGCM128(k *txKeys) []byte {
	c := aesGCM128{info: cryptoInfo{k.suite.version, cipherAESGCM128}}
	copy(c.key[:], k.key)
	copy(c.salt[:], k.iv[:4])
	copy(c.iv[:], k.iv[4:])
	binary.BigEndian.PutUint64(c.recSeq[:], k.seq)
	return unsafe.Slice((*byte)(unsafe.Pointer(&c)), unsafe.Sizeof(c))
}

func infoAESGCM256(k *txKeys) []byte {
	c := aesGCM256{info: cryptoInfo{k.suite.version, cipherAESGCM256}}
	copy(c.key[:], k.key)
	copy(c.salt[:], k.iv[:4])
	copy(c.iv[:], k.iv[4:])
	binary.BigEndian.PutUint64(c.recSeq[:], k.seq)
	return unsafe.Slice((*byte)(unsafe.Pointer(&c)), unsafe.Sizeof(c))
}

func infoChaCha20Poly1305(k *txKeys) []byte {
	c := chaCha20Poly1305{info: cryptoInfo{k.suite.version, cipherChaCha20Poly1305}, iv: k.iv}
	copy(c.key[:], k.key)
	binary.BigEndian.PutUint64(c.recSeq[:], k.seq)
	return unsafe.Slice((*byte)(unsafe.Pointer(&c)), unsafe.Sizeof(c))
}
