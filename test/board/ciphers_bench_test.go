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
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
)

// bootForBench boots a machine with the program until the benchmark ends.
func bootForBench(b *testing.B, spec board.Spec) (context.Context, *board.Machine) {
	b.Helper()
	cache, err := board.DefaultCache()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	b.Cleanup(cancel)
	spec.Cache, spec.Program = cache, filepath.Join(b.TempDir(), "uringhttpd")
	if err := spec.Board.Build(ctx, board.Build{Output: spec.Program}); err != nil {
		b.Fatal(err)
	}
	m, err := board.Boot(ctx, spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	return ctx, m
}

// BenchmarkFIPS measures the values that docs/decisions/0006-choosing-the-cipher.md
// compares: the start of the daemon on the 32-bit ARM board, its first handshake and the
// next handshake, by tls.cipher and by FIPS mode.
func BenchmarkFIPS(b *testing.B) {
	ctx, m := bootForBench(b, board.Spec{Board: board.ARMv7_612})
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
	// handshake returns the duration of a handshake; the connection is made before.
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
					b.Errorf("a client that offers X25519 only: %v", err)
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

// BenchmarkCiphers downloads from the 32-bit ARM board, which has neither an engine nor
// AES instructions, with each cipher in the kernel and in user space. The board is emulated,
// so the figures can only be compared with each other.
func BenchmarkCiphers(b *testing.B) {
	ctx, m := bootForBench(b, board.Spec{Board: board.ARMv7_612, Modules: board.ARMv7_612.ChaChaModules()})
	content := pattern.Content{Seed: 9, Size: 16 << 20}
	if err := m.MakeFile(ctx, board.Root+"/bench.bin", content); err != nil {
		b.Fatal(err)
	}
	roots, err := m.Roots()
	if err != nil {
		b.Fatal(err)
	}
	addr, err := m.Forward(ctx, board.TLSPort)
	if err != nil {
		b.Fatal(err)
	}
	for _, cipher := range []string{"aes-gcm", "chacha20"} {
		for _, kernel := range []string{"require", "off"} {
			b.Run("cipher="+cipher+"/kernel="+kernel, func(b *testing.B) {
				config := fmt.Sprintf(cipherConfig, cipher+"\n  kernel: "+kernel)
				p, err := m.StartDaemon(ctx, board.Daemon{Config: config})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(content.Size)
				for b.Loop() {
					r, err := client.Run(ctx, client.Options{Address: addr, Path: "/bench.bin", Roots: roots, Content: &content})
					if err != nil || r.Complete != 1 {
						b.Fatalf("%+v, %v", r, err)
					}
				}
				if err := p.Stop(ctx); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
