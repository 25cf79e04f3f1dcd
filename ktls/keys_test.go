//go:build linux

package ktls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// seal seals data in one record under k, as the kernel does: RFC 8446 section 5.2.
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

// seal12 seals a record of TLS 1.2 as the kernel does: it increments the explicit part of the nonce,
// from the value that was installed.
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

// TestOpenCapturedRecord: records sealed under a key open, padded or not, and a record under another
// key or sequence number does not.
func TestOpenCapturedRecord(t *testing.T) {
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

// TestCountRecordsIncomplete: an incomplete record is an error.
func TestCountRecordsIncomplete(t *testing.T) {
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

// TestCountRecordsTickets: each session ticket that the handshake sends is counted. crypto/tls sends
// one today, and may send more.
func TestCountRecordsTickets(t *testing.T) {
	k, err := deriveKeys(tls.TLS_AES_128_GCM_SHA256, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(k.key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	record := func(seq uint64, inner ...byte) []byte {
		header := []byte{recordApplicationData, 3, 3, 0, byte(len(inner) + tagSize)}
		nonce := k.nonce(seq)
		return aead.Seal(header, nonce[:], inner, header)
	}
	ticket := []byte{handshakeNewSessionTicket, 0, 0, 2, 7, 7, recordHandshake}
	finished := []byte{recordApplicationData, 3, 3, 0, 20, 19: 0, 24: 0} // of other keys
	changeCipherSpec := []byte{20, 3, 3, 0, 1, 1}
	for n := range uint64(4) {
		flight := slices.Concat(changeCipherSpec, finished)
		for seq := range n {
			flight = append(flight, record(seq, ticket...)...)
		}
		if got, err := k.countRecords(flight); got != n || err != nil {
			t.Errorf("%d tickets: %d records, %v", n, got, err)
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

// TestOpenWrongTag: a record with the right ciphertext and a wrong tag is not opened.
func TestOpenWrongTag(t *testing.T) {
	eachSuite(t, func(t *testing.T, id uint16) {
		k, err := deriveKeys(id, bytes.Repeat([]byte{7}, 32))
		if err != nil {
			t.Fatal(err)
		}
		record := seal(t, k, recordApplicationData, []byte("firmware"))
		if m, ok := k.message(0, record); !ok || string(m.Payload) != "firmware" {
			t.Fatalf("the right record: got %q, %v", m.Payload, ok)
		}
		for i := len(record) - tagSize; i < len(record); i++ {
			record[i] ^= 0x10
			if m, ok := k.message(0, record); ok {
				t.Errorf("byte %d of the record is wrong, and it opens as %q", i, m.Payload)
			}
			record[i] ^= 0x10
		}
	})
}
