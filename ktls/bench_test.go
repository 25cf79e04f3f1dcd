package ktls

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"
)

// TestBench: what arrives is counted, in user space and, where there is one, in the kernel.
func TestBench(t *testing.T) {
	for _, kernel := range []bool{false, true} {
		for _, n := range []int{1, 4} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			bytes, took, err := Bench(ctx, tls.TLS_AES_128_GCM_SHA256, n, kernel)
			cancel()
			if kernel && errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil || bytes == 0 || bytes%maxPlain != 0 || took <= 0 {
				t.Errorf("kernel %t, %d: %d bytes, %v, %v", kernel, n, bytes, took, err)
			}
		}
	}
}
