//go:build linux

package ktls

import (
	"bytes"
	"crypto/hkdf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// An opener returns the plaintext, or nil if the tag does not authenticate the
// nonce, the additional data and the ciphertext under its key.
type opener func(nonce *[nonceSize]byte, additional, sealed []byte) []byte

// txKeys are the sending keys of one direction of a connection.
type txKeys struct {
	suite   Suite
	version uint16 // tls12Version or tls13Version
	secret  []byte // traffic secret of the keys; nil with TLS 1.2
	key     []byte
	iv      [nonceSize]byte
	seq     uint64 // sequence number of the next record
	open    opener
}

// deriveKeys derives the keys from a traffic secret: RFC 8446 section 7.3.
func deriveKeys(cipherSuite uint16, secret []byte) (*txKeys, error) {
	s, ok := SuiteOf(cipherSuite)
	if !ok {
		return nil, unsupported(cipherSuite)
	}
	return s.keys(secret)
}

func (s *Suite) keys(secret []byte) (*txKeys, error) {
	k := &txKeys{suite: *s, version: tls13Version, secret: secret}
	var err error
	if k.key, err = expandLabel(s.hash, secret, "key", s.keySize); err != nil {
		return nil, err
	}
	iv, err := expandLabel(s.hash, secret, "iv", len(k.iv))
	if err != nil {
		return nil, err
	}
	copy(k.iv[:], iv)
	if k.open, err = s.opener(k.key); err != nil {
		return nil, err
	}
	return k, nil
}

// overhead returns the bytes that a record adds to its plaintext.
func (k *txKeys) overhead() int64 {
	switch {
	case k.version == tls13Version:
		return headerSize + 1 + tagSize // 1 for the content type
	case k.suite.saltSize > 0:
		return headerSize + explicitSize + tagSize
	}
	return headerSize + tagSize
}

// info returns the argument of setsockopt(SOL_TLS, TLS_TX).
func (k *txKeys) info() []byte {
	return cryptoInfo(k.version, k.suite.cipherType, k.suite.saltSize, k.iv, k.key, k.seq)
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
			return 0, errors.New("ktls: the last record of the handshake is incomplete")
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
	if len(stream) < headerSize {
		return nil, stream
	}
	n := headerSize + int(binary.BigEndian.Uint16(stream[3:]))
	if len(stream) < n {
		return nil, stream
	}
	return stream[:n], stream[n:]
}

// message opens a record: RFC 8446 sections 5.2 and 5.3. It returns false for a
// record that is not sealed under k with the sequence number seq.
func (k *txKeys) message(seq uint64, record []byte) (Message, bool) {
	if len(record) < headerSize+tagSize {
		return Message{}, false
	}
	if k.version == tls12Version {
		return k.message12(seq, record)
	}
	nonce := k.nonce(seq)
	inner := bytes.TrimRight(k.open(&nonce, record[:headerSize], record[headerSize:]), "\x00") // the padding
	if len(inner) == 0 {
		return Message{}, false
	}
	last := len(inner) - 1
	return Message{Type: inner[last], Payload: inner[:last]}, true
}

// nonce returns the nonce of a record: RFC 8446 section 5.3.
func (k *txKeys) nonce(seq uint64) [nonceSize]byte {
	nonce := k.iv
	for i, b := range binary.BigEndian.AppendUint64(nil, seq) {
		nonce[4+i] ^= b
	}
	return nonce
}

func (s *Suite) opener(key []byte) (opener, error) {
	aead, err := s.newAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	return func(nonce *[nonceSize]byte, additional, sealed []byte) []byte {
		inner, err := aead.Open(nil, nonce[:], sealed, additional)
		if err != nil {
			return nil
		}
		return inner
	}, nil
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
