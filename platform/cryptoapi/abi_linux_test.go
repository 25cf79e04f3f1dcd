package cryptoapi

import (
	"testing"
	"unsafe"
)

func TestLayout(t *testing.T) {
	var a cryptoUserAlg
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"sizeof crypto_user_alg", unsafe.Sizeof(a), 208},
		{"crypto_user_alg.cru_module_name", unsafe.Offsetof(a.module), 128},
		{"crypto_user_alg.cru_flags", unsafe.Offsetof(a.flags), 204},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}
