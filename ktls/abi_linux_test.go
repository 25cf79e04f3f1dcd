//go:build linux

package ktls

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestTCPInfoLayout(t *testing.T) {
	if got := unsafe.Offsetof(unix.TCPInfo{}.Bytes_acked); got != 120 {
		t.Errorf("tcp_info.tcpi_bytes_acked: got %d, want 120", got)
	}
}

// TestCryptoInfoLayout compares the encoded structures with those of include/uapi/linux/tls.h,
// field by field.
func TestCryptoInfoLayout(t *testing.T) {
	const version, seq = 0x0304, 0x0102030405060708
	nonce := [nonceSize]byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab}
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	type field struct {
		name       string
		start, end int
		want       []byte
	}
	sequence := binary.BigEndian.AppendUint64(nil, seq)
	for _, tc := range []struct {
		name       string // of the structure
		cipherType uint16 // TLS_CIPHER_*
		size       int
		fields     []field
	}{
		{"tls12_crypto_info_aes_gcm_128", 51, 40, []field{
			{"iv", 4, 12, nonce[4:]}, {"key", 12, 28, key[:16]}, {"salt", 28, 32, nonce[:4]}, {"rec_seq", 32, 40, sequence},
		}},
		{"tls12_crypto_info_aes_gcm_256", 52, 56, []field{
			{"iv", 4, 12, nonce[4:]}, {"key", 12, 44, key}, {"salt", 44, 48, nonce[:4]}, {"rec_seq", 48, 56, sequence},
		}},
		{"tls12_crypto_info_chacha20_poly1305", 54, 56, []field{
			{"iv", 4, 16, nonce[:]}, {"key", 16, 48, key}, {"rec_seq", 48, 56, sequence},
		}},
	} {
		i := slices.IndexFunc(suites[:], func(s Suite) bool { return s.cipherType == tc.cipherType })
		if i < 0 {
			t.Errorf("no suite has the cipher type of %s", tc.name)
			continue
		}
		k := txKeys{suite: suites[i], version: version, key: key[:suites[i].keySize], iv: nonce, seq: seq}
		got := k.info()
		if len(got) != tc.size || k.suite.infoSize() != tc.size {
			t.Errorf("%s: %d bytes, infoSize %d, want %d", tc.name, len(got), k.suite.infoSize(), tc.size)
			continue
		}
		head := []field{
			{"info.version", 0, 2, binary.NativeEndian.AppendUint16(nil, version)},
			{"info.cipher_type", 2, 4, binary.NativeEndian.AppendUint16(nil, tc.cipherType)},
		}
		for _, f := range append(head, tc.fields...) {
			if !bytes.Equal(got[f.start:f.end], f.want) {
				t.Errorf("%s.%s: got %x, want %x", tc.name, f.name, got[f.start:f.end], f.want)
			}
		}
	}
}
