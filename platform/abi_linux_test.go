package platform

import (
	"testing"
	"unsafe"
)

func TestLayout(t *testing.T) {
	var p uringParams
	var c cryptoInfo
	var a cryptoUserAlg
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"sizeof io_uring_params", unsafe.Sizeof(p), 120},
		{"io_uring_params.flags", unsafe.Offsetof(p.flags), 8},
		{"io_uring_params.features", unsafe.Offsetof(p.features), 20},
		{"io_uring_params.wq_fd", unsafe.Offsetof(p.wqFD), 24},
		{"io_uring_params.sq_off", unsafe.Offsetof(p.sqOff), 40},
		{"io_uring_params.cq_off", unsafe.Offsetof(p.cqOff), 80},
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
