package platform

import (
	"testing"
	"unsafe"
)

func TestLayout(t *testing.T) {
	var c cryptoInfo
	var a cryptoUserAlg
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"sizeof tls_crypto_info", unsafe.Sizeof(c), 4},
		{"tls_crypto_info.cipher_type", unsafe.Offsetof(c.cipherType), 2},
		{"sizeof crypto_user_alg", unsafe.Sizeof(a), 208},
		{"crypto_user_alg.cru_module_name", unsafe.Offsetof(a.module), 128},
		{"crypto_user_alg.cru_flags", unsafe.Offsetof(a.flags), 204},
		{"sizeof tls12_crypto_info_aes_gcm_128", sizeofAESGCM128, 40},
		{"sizeof tls12_crypto_info_aes_gcm_256", sizeofAESGCM256, 56},
		{"sizeof tls12_crypto_info_chacha20_poly1305", sizeofChaCha20Poly1305, 56},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}
