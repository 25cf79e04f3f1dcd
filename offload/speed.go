package offload

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"uringhttpd/ktls"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
)

// speedsPath is where it is remembered what was measured to choose between kernel TLS and user
// space.
const speedsPath = "/var/lib/uringhttpd/speeds.json"

// A speedNote is what was measured once, and of what: it counts as long as all that is the same.
type speedNote struct {
	Kernel  string           `json:"kernel"`  // its release and build
	Program string           `json:"program"` // version of this program, and Go's
	CPUs    int              `json:"cpus"`
	Drivers []string         `json:"drivers"` // that the kernel picks, in the order of suites
	Speeds  []platform.Speed `json:"speeds"`
}

// newSpeedNote is the note of this machine, without speeds.
func newSpeedNote(program string, report *platform.Report) *speedNote {
	n := &speedNote{Kernel: report.Kernel + " " + report.Build, Program: program, CPUs: runtime.NumCPU()}
	for _, suite := range selftest.Suites {
		a, _ := report.Picked(suite)
		n.Drivers = append(n.Drivers, a.Driver)
	}
	return n
}

// remembered returns the speeds that a file has, if they are of this machine as it is.
func (n *speedNote) remembered(path string) ([]platform.Speed, bool) {
	data, err := platform.ReadNote(path)
	if err != nil {
		return nil, false
	}
	var m speedNote
	if json.Unmarshal(data, &m) != nil || m.Kernel != n.Kernel || m.Program != n.Program || m.CPUs != n.CPUs || !slices.Equal(m.Drivers, n.Drivers) {
		return nil, false
	}
	for i := range m.Speeds {
		for _, suite := range selftest.Suites {
			if tls.CipherSuiteName(suite) == m.Speeds[i].Cipher {
				m.Speeds[i].Suite = suite
			}
		}
	}
	return m.Speeds, len(m.Speeds) > 0
}

func (n *speedNote) write(path string) error {
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return platform.WriteNote(path, data)
}

// speeds returns what kernel TLS reaches with each of its ciphers, and what user space does with
// AES-GCM: as path remembers it, or as measured now, in about a second. It returns nil if that
// could not be measured. With an empty path nothing is remembered but read from speedsPath.
func (t *Tester) Speeds(ctx context.Context, keep bool, report *platform.Report, log *slog.Logger) []platform.Speed {
	n := newSpeedNote(t.program, report)
	if all, ok := n.remembered(speedsPath); ok {
		return all
	}
	err := n.measure(ctx, t, report)
	if err != nil {
		log.Warn("it is not known whether kernel TLS or user space is faster, and kernel TLS is used", "reason", err)
		return nil
	}
	for _, s := range n.Speeds {
		log.Info("measured encryption", "cipher", s.Cipher, "kernel", s.Kernel, "mib_per_second", int(s.MiBPerSecond))
	}
	if keep {
		if err := n.write(speedsPath); err != nil {
			log.Info("what was measured is not remembered, and will be measured at each start", "reason", err)
		}
	}
	return n.Speeds
}

func (n *speedNote) measure(ctx context.Context, t *Tester, report *platform.Report) error {
	for _, m := range []struct {
		where  string
		suite  uint16
		cipher ktls.Cipher
	}{
		{"kernel", BenchSuite, ktls.AESGCM},
		{"kernel", tls.TLS_CHACHA20_POLY1305_SHA256, ktls.ChaCha20Poly1305},
		{"user space", BenchSuite, ktls.AESGCM},
	} {
		if m.where == "kernel" && !report.Takes(m.suite) {
			continue
		}
		all, err := t.Measure(ctx, m.where, "", false, "-brief", "-cipher", m.cipher.String())
		if err == nil && len(all) == 0 {
			err = errors.New("it said nothing")
		}
		if err != nil {
			return fmt.Errorf("%s with %s: %w", m.where, m.cipher, err)
		}
		s := all[len(all)-1].Speed()
		s.Suite, s.Cipher = m.suite, tls.CipherSuiteName(m.suite)
		n.Speeds = append(n.Speeds, s)
	}
	return nil
}
