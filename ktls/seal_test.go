//go:build linux

package ktls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// seal does what the kernel does with k: one record of data, RFC 8446 section 5.2.
func seal(t *testing.T, k *txKeys, contentType byte, data []byte) []byte {
	t.Helper()
	return sealPadded(t, k, contentType, data, 0)
}

// sealPadded adds n bytes of padding, RFC 8446 section 5.4.
func sealPadded(t *testing.T, k *txKeys, contentType byte, data []byte, n int) []byte {
	t.Helper()
	nonce := k.nonce(k.seq)
	k.seq++
	if k.version == tls12Version {
		return seal12(t, k, nonce, contentType, data)
	}
	inner := append(bytes.Clone(data), contentType)
	inner = append(inner, make([]byte, n)...)
	head := []byte{recordApplicationData, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(inner)+tagSize))
	return append(head, sealAEAD(t, k, nonce, inner, head)...)
}

func sealAEAD(t *testing.T, k *txKeys, nonce [12]byte, plaintext, additional []byte) []byte {
	t.Helper()
	var aead cipher.AEAD
	var err error
	if k.suite.Cipher == ChaCha20Poly1305 {
		aead, err = chacha20poly1305.New(k.key)
	} else if block, berr := aes.NewCipher(k.key); berr != nil {
		err = berr
	} else {
		aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		t.Fatal(err)
	}
	return aead.Seal(nil, nonce[:], plaintext, additional)
}

// seal12 makes a record of TLS 1.2 as the kernel does: it counts in the explicit
// nonce, from what it was given.
func seal12(t *testing.T, k *txKeys, nonce [12]byte, contentType byte, data []byte) []byte {
	t.Helper()
	head := []byte{contentType, 3, 3}
	additional := append(binary.BigEndian.AppendUint64(nil, k.seq-1), head...)
	additional = binary.BigEndian.AppendUint16(additional, uint16(len(data)))
	var explicit []byte
	if k.suite.Cipher == AESGCM {
		nonce = k.iv
		explicit = bytes.Clone(nonce[4:])
		binary.BigEndian.PutUint64(k.iv[4:], binary.BigEndian.Uint64(explicit)+1)
	}
	sealed := append(explicit, sealAEAD(t, k, nonce, data, additional)...)
	record := append(binary.BigEndian.AppendUint16(head, uint16(len(sealed))), sealed...)
	if got := int64(len(record) - len(data)); got != k.overhead() {
		t.Errorf("a record adds %d bytes, want %d", got, k.overhead())
	}
	return record
}

// TestOpenOwn: records sealed under a key are read back, padded or not, and a
// record under another key or number is not opened.
func TestOpenOwn(t *testing.T) {
	for _, s := range Suites() {
		t.Run(s.Name(), func(t *testing.T) {
			k, err := deriveKeys(s.ID, bytes.Repeat([]byte{7}, 32))
			if err != nil {
				t.Fatal(err)
			}
			ticket := append([]byte{handshakeNewSessionTicket, 0, 0, 60}, make([]byte, 60)...)
			plain := seal(t, k, recordHandshake, ticket)
			padded := sealPadded(t, k, recordHandshake, ticket, 100)
			for seq, record := range [][]byte{plain, padded} {
				if m, ok := k.message(uint64(seq), record); !ok || !m.isTicket() {
					t.Errorf("record %d: got %v, %v, want a ticket", seq, m, ok)
				}
				if _, ok := k.message(uint64(seq+1), record); ok {
					t.Errorf("record %d opens as the one after it", seq)
				}
			}
			other, err := k.next()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := other.message(0, plain); ok {
				t.Error("a record opens under the next keys")
			}
			for _, short := range [][]byte{plain[:5], plain[:20], {23, 3, 3, 0, 17, 16: 0, 21: 1}} {
				if m, ok := k.message(0, short); ok {
					t.Errorf("%d bytes open as %v", len(short), m)
				}
			}
		})
	}
}

func TestTicket(t *testing.T) {
	ticket := func(said, have int) Message {
		return Message{recordHandshake, append([]byte{handshakeNewSessionTicket, byte(said >> 16), byte(said >> 8), byte(said)}, make([]byte, have)...)}
	}
	for _, tc := range []struct {
		name string
		m    Message
		want bool
	}{
		{"whole", ticket(200, 200), true},
		{"the first of two records", ticket(20000, 16<<10-4), true},
		{"cut short", ticket(200, 199), false},
		{"too long", ticket(200, 201), false},
		{"longer than tickets are", ticket(1<<20, 16<<10-4), false},
		{"other message", Message{recordHandshake, []byte{handshakeKeyUpdate, 0, 0, 1, 0}}, false},
		{"other type", Message{recordAlert, ticket(200, 200).Payload}, false},
		{"empty", Message{Type: recordHandshake}, false},
	} {
		if got := tc.m.isTicket(); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}
