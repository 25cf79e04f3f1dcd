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
	"unsafe"
)

// A suite is a TLS 1.3 cipher suite as the kernel's interface has it.
type suite struct {
	hash   func() hash.Hash
	keyLen int
	info   func(k *txKeys) []byte // the argument of setsockopt(SOL_TLS, TLS_TX)
}

// suiteOf returns what Offload can hand over.
func suiteOf(id uint16) (suite, bool) {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return suite{sha256.New, 16, infoAESGCM128}, true
	case tls.TLS_AES_256_GCM_SHA384:
		return suite{sha512.New384, 32, infoAESGCM256}, true
	}
	return suite{}, false
}

// txKeys are the sending keys of one direction of a TLS 1.3 connection.
type txKeys struct {
	suite suite
	key   []byte
	iv    [12]byte
	seq   uint64 // of the next record
}

// deriveKeys makes the keys of a traffic secret: RFC 8446 section 7.3.
func deriveKeys(cipherSuite uint16, secret []byte) (*txKeys, error) {
	s, ok := suiteOf(cipherSuite)
	if !ok {
		return nil, fmt.Errorf("ktls: cipher suite %s: %w", tls.CipherSuiteName(cipherSuite), errors.ErrUnsupported)
	}
	k := &txKeys{suite: s}
	var err error
	if k.key, err = expandLabel(s.hash, secret, "key", s.keyLen); err != nil {
		return nil, err
	}
	iv, err := expandLabel(s.hash, secret, "iv", len(k.iv))
	if err != nil {
		return nil, err
	}
	copy(k.iv[:], iv)
	return k, nil
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

// countRecords returns how many records of flight were sealed under k, counting
// from its sequence number 0. The server's flight ends with them: session
// tickets go out under the same keys as the application's data, and the kernel
// must go on where crypto/tls stopped.
func (k *txKeys) countRecords(flight []byte) (uint64, error) {
	const header = 5
	open, err := k.opener()
	if err != nil {
		return 0, err
	}
	seq := uint64(0)
	for len(flight) > 0 {
		if len(flight) < header || len(flight)-header < int(binary.BigEndian.Uint16(flight[3:])) {
			return 0, errors.New("ktls: the handshake's last record is not whole")
		}
		n := header + int(binary.BigEndian.Uint16(flight[3:]))
		record := flight[:n]
		flight = flight[n:]
		if record[0] == recordApplicationData && open(seq, record) {
			seq++
		}
	}
	return seq, nil
}

// opener returns a function that tells whether a record, header included, opens
// under k with the sequence number seq: RFC 8446 section 5.3.
func (k *txKeys) opener() (func(seq uint64, record []byte) bool, error) {
	block, err := aes.NewCipher(k.key)
	if err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	return func(seq uint64, record []byte) bool {
		nonce := k.iv
		for i, b := range binary.BigEndian.AppendUint64(nil, seq) {
			nonce[4+i] ^= b
		}
		_, err := aead.Open(nil, nonce[:], record[5:], record[:5])
		return err == nil
	}, nil
}

// secretLog is the KeyLogWriter of one connection. It keeps the server's first
// application traffic secret, which is all that Offload needs, and logs nothing.
type secretLog struct{ secret []byte }

// Write takes one line of the NSS key log format: label, client random, secret.
func (l *secretLog) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) == 3 && string(fields[0]) == "SERVER_TRAFFIC_SECRET_0" {
		secret := make([]byte, hex.DecodedLen(len(fields[2])))
		if _, err := hex.Decode(secret, fields[2]); err != nil {
			return 0, fmt.Errorf("ktls: key log: %w", err)
		}
		l.secret = secret
	}
	return len(line), nil
}

func infoAESGCM128(k *txKeys) []byte {
	c := aesGCM128{info: cryptoInfo{tls13Version, cipherAESGCM128}}
	copy(c.key[:], k.key)
	copy(c.salt[:], k.iv[:4])
	copy(c.iv[:], k.iv[4:])
	binary.BigEndian.PutUint64(c.recSeq[:], k.seq)
	return unsafe.Slice((*byte)(unsafe.Pointer(&c)), unsafe.Sizeof(c))
}

func infoAESGCM256(k *txKeys) []byte {
	c := aesGCM256{info: cryptoInfo{tls13Version, cipherAESGCM256}}
	copy(c.key[:], k.key)
	copy(c.salt[:], k.iv[:4])
	copy(c.iv[:], k.iv[4:])
	binary.BigEndian.PutUint64(c.recSeq[:], k.seq)
	return unsafe.Slice((*byte)(unsafe.Pointer(&c)), unsafe.Sizeof(c))
}
