package ktls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"testing"
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
	if k.suite.version == tls12Version {
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
	if !k.suite.gcm {
		return sealChaCha20Poly1305([32]byte(k.key), nonce, plaintext, additional)
	}
	block, err := aes.NewCipher(k.key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
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
	if k.suite.gcm {
		nonce = k.iv
		explicit = bytes.Clone(nonce[4:])
		binary.BigEndian.PutUint64(k.iv[4:], binary.BigEndian.Uint64(explicit)+1)
	}
	sealed := append(explicit, sealAEAD(t, k, nonce, data, additional)...)
	record := append(binary.BigEndian.AppendUint16(head, uint16(len(sealed))), sealed...)
	if got := int64(len(record) - len(data)); got != k.suite.overhead {
		t.Errorf("a record adds %d bytes, want %d", got, k.suite.overhead)
	}
	return record
}

// sealChaCha20Poly1305 is the AEAD of RFC 8439 section 2.8.
func sealChaCha20Poly1305(key [32]byte, nonce [12]byte, plaintext, additional []byte) []byte {
	out := bytes.Clone(plaintext)
	chacha20XOR(&key, &nonce, 1, out)
	var otk [64]byte
	chacha20XOR(&key, &nonce, 0, otk[:])
	pad := func(b []byte) []byte { return append(b, make([]byte, (16-len(b)%16)%16)...) }
	m := append(pad(bytes.Clone(additional)), pad(bytes.Clone(out))...)
	m = binary.LittleEndian.AppendUint64(m, uint64(len(additional)))
	m = binary.LittleEndian.AppendUint64(m, uint64(len(out)))
	return append(out, poly1305(otk[:32], m)...)
}

// poly1305 is that of RFC 8439 section 2.5, in the words of its text.
func poly1305(key, message []byte) []byte {
	number := func(little []byte) *big.Int {
		b := bytes.Clone(little)
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		return new(big.Int).SetBytes(b)
	}
	r := bytes.Clone(key[:16])
	for i, mask := range map[int]byte{3: 15, 7: 15, 11: 15, 15: 15, 4: 252, 8: 252, 12: 252} {
		r[i] &= mask
	}
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	a := new(big.Int)
	for len(message) > 0 {
		n := min(16, len(message))
		a.Add(a, number(append(bytes.Clone(message[:n]), 1)))
		a.Mul(a, number(r)).Mod(a, p)
		message = message[n:]
	}
	a.Add(a, number(key[16:32]))
	tag := make([]byte, 16)
	for i, b := range a.FillBytes(make([]byte, 17))[1:] {
		tag[15-i] = b
	}
	return tag
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestChaCha20 uses RFC 8439 section 2.8.2, by way of the AEAD that the test
// plays the kernel with.
func TestChaCha20(t *testing.T) {
	key := unhex(t, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
	nonce := unhex(t, "070000004041424344454647")
	plaintext := "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
	got := sealChaCha20Poly1305([32]byte(key), [12]byte(nonce), []byte(plaintext), unhex(t, "50515253c0c1c2c3c4c5c6c7"))
	want := unhex(t, "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"+
		"3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"+
		"92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"+
		"3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691")
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// TestOpenOwn: what was sealed under a key is read back, padded or not, and a
// record under another key or number is taken for no ticket.
func TestOpenOwn(t *testing.T) {
	for _, id := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256} {
		t.Run(tls.CipherSuiteName(id), func(t *testing.T) {
			k, err := deriveKeys(id, bytes.Repeat([]byte{7}, 32))
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
				if m, ok := k.message(uint64(seq+1), record); ok && m.isTicket() {
					t.Errorf("record %d opens as the one after it", seq)
				}
			}
			other, err := k.next()
			if err != nil {
				t.Fatal(err)
			}
			if m, ok := other.message(0, plain); ok && m.isTicket() {
				t.Error("a record opens under the next keys")
			}
			for _, short := range [][]byte{plain[:5], plain[:20], {23, 3, 3, 0, 17, 16: 0, 21: 1}} {
				if m, ok := k.message(0, short); ok && m.isTicket() {
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
