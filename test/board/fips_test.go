//go:build board

package board_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"uringhttpd/test/board"
)

// BenchmarkFIPS is what docs/decisions/0006-choosing-the-cipher.md compares: the
// start of the daemon on the 32-bit ARM board, its first handshake and the next
// one, by tls.cipher and by FIPS mode.
func BenchmarkFIPS(b *testing.B) {
	cache, err := board.DefaultCache()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	program := filepath.Join(b.TempDir(), "uringhttpd")
	if err := board.ARMv7_612.Build(ctx, board.Build{Output: program}); err != nil {
		b.Fatal(err)
	}
	m, err := board.Boot(ctx, board.Spec{Board: board.ARMv7_612, Program: program, Cache: cache})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	roots, err := m.Roots()
	if err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	addr, err := m.Forward(ctx, board.TLSPort)
	if err != nil {
		b.Fatal(err)
	}
	// handshake returns how long one took; a fresh connection is made before.
	handshake := func(curves ...tls.CurveID) (time.Duration, tls.ConnectionState, error) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return 0, tls.ConnectionState{}, err
		}
		defer conn.Close()
		c := tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "localhost", CurvePreferences: curves})
		start := time.Now()
		err = c.Handshake()
		return time.Since(start), c.ConnectionState(), err
	}
	for _, fips := range []string{"off", "on"} {
		b.Run("fips140="+fips, func(b *testing.B) {
			var started, first, next time.Duration
			for range b.N {
				start := time.Now()
				p, err := m.StartDaemon(ctx, board.Daemon{Config: fmt.Sprintf(cipherConfig, "aes-gcm"), Env: []string{"GODEBUG=fips140=" + fips}})
				if err != nil {
					b.Fatal(err)
				}
				started += time.Since(start)
				for _, sum := range []*time.Duration{&first, &next} {
					took, state, err := handshake(tls.CurveP256)
					if err != nil || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
						b.Fatalf("%s, %v", tls.CipherSuiteName(state.CipherSuite), err)
					}
					*sum += took
				}
				_, _, err = handshake(tls.X25519)
				if (err != nil) != (fips == "on") {
					b.Errorf("a client that knows X25519 alone: %v", err)
				}
				if err := p.Stop(ctx); err != nil {
					b.Fatal(err)
				}
			}
			ms := func(d time.Duration) float64 { return float64(d.Milliseconds()) / float64(b.N) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ms(started), "start-ms")
			b.ReportMetric(ms(first), "first-handshake-ms")
			b.ReportMetric(ms(next), "next-handshake-ms")
		})
	}
}
