package ktls

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"
)

// TestBench: what arrives is counted, in user space and, where there is one, in the kernel.
func TestBench(t *testing.T) {
	for _, kernel := range []bool{false, true} {
		for _, n := range []int{1, 4} {
			bytes, took, err := Bench(t.Context(), tls.TLS_AES_128_GCM_SHA256, n, kernel, 200*time.Millisecond)
			if kernel && errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil || bytes == 0 || bytes%maxPlain != 0 || took < 200*time.Millisecond {
				t.Errorf("kernel %t, %d: %d bytes, %v, %v", kernel, n, bytes, took, err)
			}
		}
	}
}
