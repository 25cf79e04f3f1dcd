//go:build linux

package ktls

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"hash"
)

// deriveKeys12 derives the server's keys of a TLS 1.2 connection: RFC 5246 section
// 6.3, without MAC keys. The sequence number is 1, since Finished was the first record.
func deriveKeys12(cipherSuite uint16, master, clientRandom, serverRandom []byte) (*txKeys, error) {
	s, ok := suiteOf12(cipherSuite)
	if !ok {
		return nil, unsupported(cipherSuite)
	}
	ivSize := nonceSize // RFC 7905 section 2: as in TLS 1.3
	if s.saltSize > 0 {
		ivSize = s.saltSize // RFC 5288 section 3: each record carries the rest of the nonce
	}
	seed := append(append([]byte("key expansion"), serverRandom...), clientRandom...)
	block := prf12(s.hash, master, seed, 2*s.keySize+2*ivSize) // keys of client and server, then their IVs
	k := &txKeys{suite: s, version: tls12Version, seq: 1, key: block[s.keySize : 2*s.keySize]}
	copy(k.iv[:], block[2*s.keySize+ivSize:])
	if s.saltSize > 0 {
		// crypto/tls uses a counter as the explicit part of the nonce, and so does
		// the kernel from here (tls_advance_record_sn in net/tls/tls.h).
		binary.BigEndian.PutUint64(k.iv[s.saltSize:], k.seq)
	}
	var err error
	if k.open, err = s.opener(k.key); err != nil {
		return nil, err
	}
	return k, nil
}

// prf12 is P_hash of RFC 5246 section 5.
func prf12(h func() hash.Hash, secret, seed []byte, n int) []byte {
	sum := func(parts ...[]byte) []byte {
		m := hmac.New(h, secret)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

// message12 opens a record of TLS 1.2; see message.
func (k *txKeys) message12(seq uint64, record []byte) (Message, bool) {
	nonce, sealed := k.nonce(seq), record[headerSize:]
	if salt := k.suite.saltSize; salt > 0 {
		if len(sealed) < explicitSize+tagSize {
			return Message{}, false
		}
		copy(nonce[salt:], sealed)
		sealed = sealed[explicitSize:]
	}
	// RFC 5246 section 6.2.3.3
	additional := append(binary.BigEndian.AppendUint64(nil, seq), record[:3]...)
	additional = binary.BigEndian.AppendUint16(additional, uint16(len(sealed)-tagSize))
	payload := k.open(&nonce, additional, sealed)
	return Message{Type: record[0], Payload: payload}, payload != nil
}

// serverRandom returns the server random of the first flight: RFC 5246 section
// 7.4.1.3.
func serverRandom(flight []byte) ([]byte, error) {
	const at, size = headerSize + 4 + 2, 32 // after the headers of record and message, and the version
	record, _ := cutRecord(flight)
	if len(record) < at+size || record[0] != recordHandshake || record[5] != handshakeServerHello {
		return nil, errors.New("ktls: the handshake does not begin with ServerHello")
	}
	return record[at : at+size], nil
}
