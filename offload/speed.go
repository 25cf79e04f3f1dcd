package offload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"

	"uringhttpd/ktls"
	"uringhttpd/offload/selftest"
	"uringhttpd/offload/statefile"
	"uringhttpd/platform"
)

// speedsPath is the state file with the measurements that decide between kernel TLS and user space.
const speedsPath = "/var/lib/uringhttpd/speeds.json"

// A speedState is the state file of measured speeds and of their conditions. It is valid while all
// conditions are unchanged.
type speedState struct {
	Kernel  string           `json:"kernel"`  // release and build
	Program string           `json:"program"` // versions of this program and of Go
	CPUs    int              `json:"cpus"`
	Drivers []string         `json:"drivers"` // selected drivers, in the order of suites
	Speeds  []platform.Speed `json:"speeds"`
}

// newSpeedState returns the conditions on this machine, without speeds.
func newSpeedState(program string, report *platform.Report) *speedState {
	n := &speedState{Kernel: report.Kernel + " " + report.Build, Program: program, CPUs: runtime.NumCPU()}
	for _, suite := range ktls.Suites() {
		a, _ := report.Selected(suite.ID)
		n.Drivers = append(n.Drivers, a.Driver)
	}
	return n
}

// load returns the speeds in a state file, if its conditions are those of n.
func (n *speedState) load(path string) ([]platform.Speed, bool) {
	var m speedState
	if statefile.Load(path, &m) != nil || m.Kernel != n.Kernel || m.Program != n.Program || m.CPUs != n.CPUs || !slices.Equal(m.Drivers, n.Drivers) {
		return nil, false
	}
	for i := range m.Speeds {
		for _, suite := range ktls.Suites() {
			if suite.Name() == m.Speeds[i].Cipher {
				m.Speeds[i].Suite = suite.ID
			}
		}
	}
	return m.Speeds, true
}

// complete reports whether speeds has user space and each suite that kernel TLS supports now. A
// suite may have been unusable, for a transient reason, when the others were measured.
func complete(speeds []platform.Speed, report *platform.Report) bool {
	has := func(kernel bool, suite uint16) bool {
		return slices.ContainsFunc(speeds, func(s platform.Speed) bool { return s.Kernel == kernel && s.Suite == suite })
	}
	for _, c := range []ktls.Cipher{ktls.AESGCM, ktls.ChaCha20Poly1305} {
		if report.Supports(c.Suite()) && !has(true, c.Suite()) {
			return false
		}
	}
	return has(false, ktls.AESGCM.Suite())
}

// Speeds returns the speeds of kernel TLS with each of its ciphers and of user space with AES-GCM:
// from speedsPath if the file is valid, or measured now, in about three seconds. It returns nil, and
// logs why, if they could not be measured. It writes new measurements to speedsPath only if keep is
// true.
func (t *Tester) Speeds(ctx context.Context, keep bool, report *platform.Report, log *slog.Logger) []platform.Speed {
	n := newSpeedState(t.program, report)
	if all, ok := n.load(speedsPath); ok && complete(all, report) {
		return all
	}
	err := n.measure(ctx, t, report)
	if err != nil {
		log.Warn("could not compare kernel TLS with user space, so kernel TLS is used", "reason", err)
		return nil
	}
	for _, s := range n.Speeds {
		log.Info("measured encryption", "cipher", s.Cipher, "kernel", s.Kernel, "mib_per_second", int(s.MiBPerSecond))
	}
	if keep {
		if err := statefile.Store(speedsPath, n); err != nil {
			log.Info("could not store the measurement, so it is repeated at each start", "reason", err)
		}
	}
	return n.Speeds
}

// measureRounds is how often each speed is measured, in turn. The best of each counts: other work on
// the machine, as there is while it boots, makes some of them too small.
const measureRounds = 3

func (n *speedState) measure(ctx context.Context, t *Tester, report *platform.Report) error {
	for range measureRounds {
		if err := n.measureOnce(ctx, t, report); err != nil {
			return err
		}
	}
	return nil
}

// add adds a measurement, unless there is a better one of the same kind.
func (n *speedState) add(s platform.Speed) {
	i := slices.IndexFunc(n.Speeds, func(o platform.Speed) bool { return o.Kernel == s.Kernel && o.Suite == s.Suite })
	switch {
	case i < 0:
		n.Speeds = append(n.Speeds, s)
	case s.MiBPerSecond > n.Speeds[i].MiBPerSecond:
		n.Speeds[i] = s
	}
}

func (n *speedState) measureOnce(ctx context.Context, t *Tester, report *platform.Report) error {
	for _, m := range []struct {
		where  string
		cipher ktls.Cipher
	}{
		{selftest.Kernel, ktls.AESGCM},
		{selftest.Kernel, ktls.ChaCha20Poly1305},
		{selftest.UserSpace, ktls.AESGCM},
	} {
		suite := m.cipher.Suite()
		if m.where == selftest.Kernel && !report.Supports(suite) {
			continue
		}
		all, err := t.Measure(ctx, m.where, "", false, "-brief", "-cipher", m.cipher.String())
		if err == nil && len(all) == 0 {
			err = errors.New("the child reported no measurement")
		}
		if err != nil {
			return fmt.Errorf("%s with %s: %w", m.where, m.cipher, err)
		}
		s := all[len(all)-1].Speed()
		s.Suite, s.Cipher = suite, tls.CipherSuiteName(suite)
		n.add(s)
	}
	return nil
}
