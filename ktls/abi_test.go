//go:build linux

package ktls

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestABISizes(t *testing.T) {
	for _, tc := range []struct {
		name      string
		got, want uintptr
	}{
		{"struct tls_crypto_info", unsafe.Sizeof(cryptoInfo{}), 4},
		{"struct tls12_crypto_info_aes_gcm_128", unsafe.Sizeof(aesGCM128{}), 40},
		{"aes_gcm_128.rec_seq", unsafe.Offsetof(aesGCM128{}.recSeq), 32},
		{"struct tls12_crypto_info_aes_gcm_256", unsafe.Sizeof(aesGCM256{}), 56},
		{"aes_gcm_256.rec_seq", unsafe.Offsetof(aesGCM256{}.recSeq), 48},
		{"struct tls12_crypto_info_chacha20_poly1305", unsafe.Sizeof(chaCha20Poly1305{}), 56},
		{"chacha20_poly1305.key", unsafe.Offsetof(chaCha20Poly1305{}.key), 16},
		{"chacha20_poly1305.rec_seq", unsafe.Offsetof(chaCha20Poly1305{}.recSeq), 48},
		{"tcp_info.tcpi_bytes_acked", unsafe.Offsetof(unix.TCPInfo{}.Bytes_acked), 120},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, tc.got, tc.want)
		}
	}
}
