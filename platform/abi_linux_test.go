package platform

import (
	"testing"
	"unsafe"
)

func TestLayout(t *testing.T) {
	var p uringParams
	var c cryptoInfoAESGCM128
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
		{"sizeof tls12_crypto_info_aes_gcm_128", unsafe.Sizeof(c), sizeofCryptoAESGCM},
		{"tls12_crypto_info_aes_gcm_128.iv", unsafe.Offsetof(c.iv), 4},
		{"tls12_crypto_info_aes_gcm_128.key", unsafe.Offsetof(c.key), 12},
		{"tls12_crypto_info_aes_gcm_128.salt", unsafe.Offsetof(c.salt), 28},
		{"tls12_crypto_info_aes_gcm_128.rec_seq", unsafe.Offsetof(c.recSeq), 32},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}
