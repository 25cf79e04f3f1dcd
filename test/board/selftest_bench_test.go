//go:build board

package board_test

import (
	"crypto/tls"
	"crypto/x509"
	"strconv"
	"strings"
	"testing"

	"uringhttpd/test/board"
)

// BenchmarkSelfTest measures the processor time of the cipher test at each start of the
// daemon, as a ratio to ten handshakes on the same board.
func BenchmarkSelfTest(b *testing.B) {
	for _, e := range []board.Engine{board.Sync, board.CAAM} {
		b.Run(e.String(), func(b *testing.B) { benchSelfTest(b, e) })
	}
}

func benchSelfTest(b *testing.B, e board.Engine) {
	ctx, m := bootForBench(b, board.Spec{Board: board.ARMv7_612, Engine: e, Modules: board.ARMv7_612.ChaChaModules()})
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		b.Fatal(err)
	}
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
	// ticks returns the time that the board was busy, in ticks of its clock.
	ticks := func() (sum int) {
		text, err := m.ReadFile(ctx, "/proc/stat")
		if err != nil {
			b.Fatal(err)
		}
		f := strings.Fields(string(text))
		for _, i := range []int{1, 2, 3, 6, 7} {
			n, err := strconv.Atoi(f[i])
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
		return sum
	}
	const handshakes = 10
	tests, shakes := 0, 0
	for b.Loop() {
		before := ticks()
		if e, err := m.Run(ctx, nil, board.ProgramPath, "selftest"); err != nil || e.Status != 0 {
			b.Fatalf("%v, %+v", err, e)
		}
		between := ticks()
		for range handshakes {
			c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "localhost"})
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
		tests, shakes = tests+between-before, shakes+ticks()-between
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(tests)/float64(shakes), "of-ten-handshakes")
	if err := p.Stop(ctx); err != nil {
		b.Fatal(err)
	}
}
