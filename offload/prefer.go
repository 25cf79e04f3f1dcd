package offload

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"uringhttpd/config"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
)

// Who computes gcm(aes): crypto.prefer.

const (
	// preferencePatience is more than a start, or doctor -bench, takes with a dead engine.
	preferencePatience = 45 * time.Second
	restorePatience    = 10 * time.Second
)

// measuredPath is where the winner is remembered that crypto.prefer: auto has measured.
const measuredPath = "/var/lib/uringhttpd/measured.json"

// OpenPreference joins those who count on what the kernel picks for gcm(aes). What an
// earlier run has left is taken back by that. It returns nil where that cannot be done.
func OpenPreference(want config.Prefer, log *slog.Logger) *platform.Preference {
	p, err := platform.OpenPreference(preferencePatience)
	switch {
	case err == nil:
	case p != nil:
		log.Warn("what an earlier run has the kernel prefer for gcm(aes) stays so", "reason", err)
	case want != config.PreferKeep:
		refused(want, err, log)
	case errors.Is(err, platform.ErrInUse):
		log.Warn("what the kernel picks for gcm(aes) may change while this runs", "reason", err)
	default: // such as a program that is run by hand, by somebody else than root
		log.Debug("others may change what the kernel picks for gcm(aes) while this runs", "reason", err)
	}
	return p
}

// RestorePreference takes back what a run has left that was killed.
func RestorePreference() error {
	p, err := platform.OpenPreference(restorePatience)
	if p == nil {
		return err
	}
	return p.Close() // what could not be taken back just now, cannot be now
}

// Prefer has the kernel prefer the driver of gcm(aes) that the configuration asks for. A
// test of the ciphers must have been, with verdicts, since the kernel makes drivers of
// parts only when they are used; those of the driver that is picked then are returned. If
// ctx ends meanwhile, they are worthless, and p has to be closed.
func (t *Tester) Prefer(ctx context.Context, want config.Prefer, p *platform.Preference, verdicts platform.Verdicts, log *slog.Logger) platform.Verdicts {
	if want == config.PreferKeep || p == nil || ctx.Err() != nil {
		return verdicts
	}
	hardware := want == config.PreferHardware
	if want == config.PreferAuto {
		var err error
		if hardware, err = t.measuredFaster(ctx, measuredPath, p, verdicts, log); ctx.Err() != nil {
			return verdicts
		} else if err != nil {
			refused(want, err, log)
			return t.certain(ctx, p, verdicts)
		}
	}
	raised, err := p.Prefer(hardware)
	if err != nil {
		refused(want, err, log)
	}
	if raised == nil {
		return t.certain(ctx, p, verdicts)
	}
	now := t.Verdicts(ctx) // of another driver
	if ctx.Err() != nil {
		return now
	}
	if err := worse(verdicts, now); err != nil {
		refused(want, errors.Join(fmt.Errorf("%s: %w", raised.Driver, err), p.Undo()), log)
		if p.Changed() {
			return now
		}
		return verdicts
	}
	log.Info("the kernel prefers another driver of gcm(aes), for the whole system, until this service stops",
		"driver", raised.Driver, "priority", raised.After, "before", raised.Before)
	return now
}

// certain are verdicts on the driver that is picked: new ones, if it is another one since
// something that was changed could not be taken back.
func (t *Tester) certain(ctx context.Context, p *platform.Preference, verdicts platform.Verdicts) platform.Verdicts {
	if p.Changed() {
		return t.Verdicts(ctx)
	}
	return verdicts
}

// worse is why the driver of gcm(aes) that verdicts are about is not to be used in place
// of the one before: it is wrong, or was not found right where that was; nil if it is as good.
func worse(before, after platform.Verdicts) error {
	if err := wrongAES(after); err != nil {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	right := 0
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		verdict, was := before[suite]
		_, is := after[suite]
		if was && verdict.Err == nil && !is {
			return fmt.Errorf("%w with %s", errUntested, tls.CipherSuiteName(suite))
		}
		if is {
			right++
		}
	}
	if right == 0 {
		return errUntested
	}
	return nil
}

// errWrong is wrapped by what is wrong with a driver that was tested.
var errWrong = errors.New("what it encrypts is wrong, or does not come")

// wrongAES is what was wrong with gcm(aes).
func wrongAES(v platform.Verdicts) error {
	return errors.Join(v[tls.TLS_AES_128_GCM_SHA256].Err, v[tls.TLS_AES_256_GCM_SHA384].Err)
}

// refused logs that the kernel's choice is kept, and what to do about it.
func refused(want config.Prefer, why error, log *slog.Logger) {
	args := []any{"reason", why}
	if errors.Is(why, platform.ErrNotAllowed) {
		args = append(args, "remedy", "a drop-in for the unit: AmbientCapabilities=CAP_NET_ADMIN, CapabilityBoundingSet=CAP_NET_ADMIN")
	}
	log.Warn("crypto.prefer is "+string(want)+", and the kernel's choice is kept", args...)
}

// NotPreferred says what is missing for the driver that the configuration prefers; "" if
// nothing is.
func NotPreferred(want config.Prefer, r *platform.Report) string {
	a, ok := r.Picked(tls.TLS_AES_128_GCM_SHA256)
	hardware := want == config.PreferHardware
	if want == config.PreferKeep || want == config.PreferAuto || ok && a.Hardware == hardware {
		return ""
	}
	why := "the kernel has no such driver"
	switch {
	case !r.Netlink.Usable:
		why = r.Netlink.Reason + "; " + r.Netlink.Remedy
	case !hardware || slices.ContainsFunc(r.GCM, func(a platform.Algorithm) bool { return a.Hardware }):
		why = "serve has the kernel pick another while it runs, if it has CAP_NET_ADMIN"
	}
	return fmt.Sprintf("crypto.prefer is %s, and the kernel picks %s: %s", want, cmp.Or(a.Driver, "nothing"), why)
}

// A measured is what was measured once, and of what: it counts as long as all that is
// the same.
type measured struct {
	Kernel     string                 `json:"kernel"`
	Model      string                 `json:"model"`
	Compatible []string               `json:"compatible"`
	Drivers    []string               `json:"drivers"` // of gcm(aes), that the kernel had then
	Hardware   bool                   `json:"hardware"`
	Bench      []selftest.Measurement `json:"bench"`
}

// counts tells whether m is about this machine as it is.
func (m *measured) counts(r *platform.Report, b platform.Board) bool {
	return m.Kernel == r.Kernel && m.Model == b.Model && slices.Equal(m.Compatible, b.Compatible) &&
		!slices.ContainsFunc(r.GCM, func(a platform.Algorithm) bool { return !slices.Contains(m.Drivers, a.Driver) })
}

// measuredFaster tells whether hardware is the fastest driver of gcm(aes), as measured
// now or before. One that is wrong, or dead, is not.
func (t *Tester) measuredFaster(ctx context.Context, path string, p *platform.Preference, verdicts platform.Verdicts, log *slog.Logger) (hardware bool, err error) {
	r, err := t.Probe(ctx, verdicts)
	if err != nil {
		return false, err
	}
	picked, _ := r.Picked(BenchSuite)
	switch {
	case !r.Netlink.Usable:
		return false, fmt.Errorf("%s; %s", r.Netlink.Reason, r.Netlink.Remedy)
	case !slices.ContainsFunc(r.GCM, func(a platform.Algorithm) bool { return a.Hardware }):
		return false, errors.New("the kernel has no engine for gcm(aes), and so no choice")
	case errors.Is(wrongAES(verdicts), errUntested):
		return false, wrongAES(verdicts)
	case wrongAES(verdicts) != nil:
		return !picked.Hardware, nil
	case slices.ContainsFunc(r.Ciphers, func(c platform.Cipher) bool { return c.Suite == BenchSuite && c.Defective }):
		return false, nil // kernel TLS is not used with the driver that is picked, and to measure it could corrupt memory
	}
	b, err := platform.ReadBoard(r.Kernel)
	if err != nil {
		return false, err
	}
	if m, err := readMeasured(path); err == nil && m.counts(r, b) {
		return m.Hardware, nil
	}
	if !platform.MayPrefer() { // nothing would come of it
		return false, platform.ErrNotAllowed
	}
	first, err := t.Measure(ctx, "kernel", picked.Driver, picked.Hardware)
	if err != nil {
		return false, fmt.Errorf("kernel TLS with %s: not measured: %w", picked.Driver, err)
	}
	second, err := t.MeasureOther(ctx, p, !picked.Hardware, verdicts)
	if err != nil && !errors.Is(err, platform.ErrNoSuchDriver) && !errors.Is(err, errWrong) || p.Changed() {
		return false, err // of this moment only
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	winner, other := Fastest(append(first, second...))
	if err != nil {
		log.Warn("gcm(aes) is left to the driver that the kernel picks, since the other could not be measured", "driver", picked.Driver, "reason", err)
	} else {
		log.Info("measured who is the fastest for gcm(aes)", "driver", winner.Driver, "mib_per_second", int(winner.MiBPerSecond),
			"second", other.Driver, "second_mib_per_second", int(other.MiBPerSecond))
	}
	if r, err = t.Probe(ctx, verdicts); err != nil { // measuring may have made drivers
		return false, err
	}
	m := &measured{Kernel: r.Kernel, Model: b.Model, Compatible: b.Compatible, Hardware: winner.Hardware, Bench: append(first, second...)}
	for _, a := range r.GCM {
		m.Drivers = append(m.Drivers, a.Driver)
	}
	if err := m.write(path); err != nil {
		log.Warn("what was measured is not remembered, and will be measured at each start", "reason", err)
	}
	return winner.Hardware, nil
}

func readMeasured(path string) (*measured, error) {
	data, err := platform.ReadNote(path)
	if err != nil {
		return nil, err
	}
	var m measured
	return &m, json.Unmarshal(data, &m)
}

func (m *measured) write(path string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return platform.WriteNote(path, data)
}
