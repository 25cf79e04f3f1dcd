//go:build linux

package ktls

import (
	"crypto/tls"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBenchCountsBytes: the bytes that arrive are counted, encrypted in user space and in the
// kernel.
func TestBenchCountsBytes(t *testing.T) {
	bench := func(t *testing.T, kernel bool) {
		for _, n := range []int{1, 4} {
			bytes, took, err := Bench(t.Context(), tls.TLS_AES_128_GCM_SHA256, n, kernel, 200*time.Millisecond)
			if kernel && errors.Is(err, errors.ErrUnsupported) && !kernelTLS(t) {
				t.Skip("this kernel has no TLS, or has not loaded it")
			}
			if err != nil || bytes == 0 || bytes%maxPlain != 0 || took <= 0 {
				t.Errorf("%d connections: %d bytes, %v, %v", n, bytes, took, err)
			}
		}
	}
	t.Run("user space", func(t *testing.T) { bench(t, false) })
	t.Run("kernel", func(t *testing.T) { bench(t, true) })
}

// kernelTLS reports whether the kernel has TLS now.
func kernelTLS(t *testing.T) bool {
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_ulp")
	if err != nil {
		t.Log(err)
	}
	return slices.Contains(strings.Fields(string(text)), "tls")
}
