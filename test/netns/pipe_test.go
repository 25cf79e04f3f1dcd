//go:build netns

package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"uringhttpd/test/wrong"
)

// BenchmarkPipe downloads a large file over plain HTTP through a veth pair, alternately from builds
// with different maximum pipe sizes. It reports processor time and rate as ratios to the build whose
// pipes do not grow. It needs root:
//
//	go test -tags netns -run '^$' -bench Pipe -benchtime 40x ./test/netns
func BenchmarkPipe(b *testing.B) {
	if os.Getuid() != 0 {
		b.Fatal("needs root, to give a network namespace one end of a veth pair")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "uringhttpd-pipe")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "f.bin"), make([]byte, sealFile), 0o644); err != nil {
		b.Fatal(err)
	}
	sizes := []string{"chunk", "256 << 10", "512 << 10", "1 << 20"}
	var servers []*sealServer
	for i, size := range sizes {
		v := wrong.Variant{Name: fmt.Sprint("pipe ", i), Edits: []wrong.Edit{{
			File: "service/server/pipes.go", Old: "maxPipe   = 1 << 20", New: "maxPipe   = " + size,
		}}}
		overlay, err := v.Overlay(root, b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		servers = append(servers, startSealServer(b, root, dir, size, 1+i, "-overlay", overlay))
	}
	cpu, took := map[string][]float64{}, map[string][]float64{}
	for turn := 0; b.Loop(); turn++ {
		for i := range servers {
			s := servers[(i+turn)%len(servers)] // rotates the order
			before, start := s.cpu(b), time.Now()
			s.download(b)
			cpu[s.name] = append(cpu[s.name], (s.cpu(b) - before).Seconds())
			took[s.name] = append(took[s.name], time.Since(start).Seconds())
		}
	}
	for i, size := range sizes {
		var less, faster []float64
		for turn := range cpu[size] {
			less = append(less, cpu[size][turn]/cpu[sizes[0]][turn])
			faster = append(faster, took[sizes[0]][turn]/took[size][turn])
		}
		b.ReportMetric(median(less), fmt.Sprintf("cpu-ratio-%d", i))
		b.ReportMetric(median(faster), fmt.Sprintf("rate-ratio-%d", i))
		b.ReportMetric(median(cpu[size])*(1<<30)/sealFile, fmt.Sprintf("cpu-s/GiB-%d", i))
	}
	b.ReportMetric(0, "ns/op") // meaningless, since it covers all builds
}
