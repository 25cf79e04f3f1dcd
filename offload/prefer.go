package offload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/offload/priority"
	"uringhttpd/offload/selftest"
	"uringhttpd/offload/statefile"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// This file implements crypto.prefer, the preference for a driver of gcm(aes).

const (
	// preferencePatience is longer than a start or doctor -bench takes with a dead engine.
	preferencePatience = 45 * time.Second
	restorePatience    = 10 * time.Second
)

// measuredPath is the state file with the measurements of crypto.prefer: auto.
const measuredPath = "/var/lib/uringhttpd/measured.json"

// OpenPreference acquires the lock on the selected driver of gcm(aes) (priority.Acquire), which also
// reverts a priority change that an earlier run has left behind. It logs failures. It returns nil
// if the lock cannot be taken.
func OpenPreference(want config.Prefer, log *slog.Logger) *priority.Lock {
	p, err := priority.Acquire(preferencePatience)
	switch {
	case err == nil:
	case p != nil:
		log.Warn("could not undo a previous run's priority change", "reason", err)
	case want != config.PreferKeep:
		warnKept(want, err, log)
	case errors.Is(err, priority.ErrInUse):
		log.Warn("the selected driver of gcm(aes) may change while this service runs", "reason", err)
	default: // for example, a user other than root runs the program
		log.Debug("no lock on the selected driver of gcm(aes), so it may change while this service runs", "reason", err)
	}
	return p
}

// RestorePreference reverts the priority change of a run that was killed.
func RestorePreference() error {
	p, err := priority.Acquire(restorePatience)
	if p == nil {
		return err
	}
	return p.Release() // a revert that failed just now fails again here, and Release returns its error
}

// Prefer makes the kernel select the driver of gcm(aes) that the configuration wants. verdicts must
// come from a test of the ciphers before the call, since the kernel builds template drivers only at
// their first use. Prefer returns the verdicts on the driver that is selected afterwards. If ctx
// ends meanwhile, the verdicts are not valid, and the caller must release p.
func (t *Tester) Prefer(ctx context.Context, want config.Prefer, p *priority.Lock, verdicts platform.Verdicts, log *slog.Logger) platform.Verdicts {
	if want == config.PreferKeep || p == nil || ctx.Err() != nil {
		return verdicts
	}
	hardware := want == config.PreferHardware
	if want == config.PreferAuto {
		var err error
		if hardware, err = t.hardwareIsFaster(ctx, measuredPath, p, verdicts, log); ctx.Err() != nil {
			return verdicts
		} else if err != nil {
			warnKept(want, err, log)
			return t.retestIfChanged(ctx, p, verdicts)
		}
	}
	raised, err := p.Raise(hardware)
	if err != nil {
		warnKept(want, err, log)
	}
	if raised == nil {
		return t.retestIfChanged(ctx, p, verdicts)
	}
	now := t.Verdicts(ctx) // on the raised driver
	if ctx.Err() != nil {
		return now
	}
	if err := t.reasonToRevert(ctx, verdicts, now, raised.Driver); err != nil {
		warnKept(want, errors.Join(fmt.Errorf("%s: %w", raised.Driver, err), p.Revert()), log)
		if p.Changed() {
			return now
		}
		return verdicts
	}
	log.Info("raised the priority of a driver of gcm(aes), for the whole system, until this service stops",
		"driver", raised.Driver, "priority", raised.After, "before", raised.Before)
	return now
}

// retestIfChanged returns the verdicts on the selected driver. It tests again if a priority change
// could not be reverted, since then another driver is selected.
func (t *Tester) retestIfChanged(ctx context.Context, p *priority.Lock, verdicts platform.Verdicts) platform.Verdicts {
	if p.Changed() {
		return t.Verdicts(ctx)
	}
	return verdicts
}

// reasonToRevert returns why a raised priority must be reverted: the driver is worse than the driver
// before, this kernel has a defect with it, or its output over AF_ALG is wrong. It returns nil if
// there is no reason.
func (t *Tester) reasonToRevert(ctx context.Context, before, after platform.Verdicts, driver string) error {
	if err := regression(before, after); err != nil {
		return err
	}
	report, err := t.Probe(ctx, after)
	if err != nil {
		return fmt.Errorf("%w: %w", errUntested, err)
	}
	if err := gcmDefect(report); err != nil {
		return err
	}
	if a := t.KnownAnswers(ctx, driver, report, "-brief"); a.Wrong {
		return fmt.Errorf("%w: over AF_ALG: %s", errWrong, a.Reason)
	}
	return nil
}

// errDefective is wrapped by the error of a driver with which this kernel has a known defect.
var errDefective = errors.New("kernel TLS is not used with this driver")

// gcmDefect returns an error that wraps errDefective if the kernel has a known defect with the
// selected driver of gcm(aes).
func gcmDefect(report *platform.Report) error {
	for _, c := range report.Ciphers {
		if c.Suite == ktls.AESGCM.Suite() && c.Defective {
			return fmt.Errorf("%w: %s", errDefective, c.Reason)
		}
	}
	return nil
}

// regression returns the reason why the driver with the verdicts after must not replace the driver
// with the verdicts before: its test failed, or it was not tested with a suite that the earlier
// driver has passed. It returns nil if the new driver is as good.
func regression(before, after platform.Verdicts) error {
	if err := gcmFailure(after); err != nil {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	right := 0
	for _, suite := range ktls.AESGCM.Suites() {
		verdict, was := before[suite.ID]
		_, is := after[suite.ID]
		if was && verdict.Err == nil && !is {
			return fmt.Errorf("%w with %s", errUntested, suite.Name())
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

// errWrong is wrapped by the error of a driver whose test failed.
var errWrong = errors.New("the test failed")

// gcmFailure returns the errors of the tests of gcm(aes).
func gcmFailure(v platform.Verdicts) error {
	var all []error
	for _, suite := range ktls.AESGCM.Suites() {
		all = append(all, v[suite.ID].Err)
	}
	return errors.Join(all...)
}

// warnKept logs that the kernel's choice is kept, why, and the remedy.
func warnKept(want config.Prefer, why error, log *slog.Logger) {
	args := []any{"prefer", want, "reason", why}
	if errors.Is(why, cryptoapi.ErrNotAllowed) {
		args = append(args, "remedy", "add a drop-in to the unit with AmbientCapabilities=CAP_NET_ADMIN and CapabilityBoundingSet=CAP_NET_ADMIN")
	}
	log.Warn("could not apply crypto.prefer, so the kernel's choice is kept", args...)
}

// NotPreferred returns the reason why the driver that the configuration prefers is not selected;
// "" if it is selected, or the configuration prefers none.
func NotPreferred(want config.Prefer, r *platform.Report) string {
	a, ok := r.Selected(ktls.AESGCM.Suite())
	hardware := want == config.PreferHardware
	if want == config.PreferKeep || want == config.PreferAuto || ok && a.Hardware == hardware {
		return ""
	}
	why := "the kernel has no such driver"
	switch {
	case !r.Netlink.Usable:
		why = r.Netlink.Reason + "; " + r.Netlink.Remedy
	case !hardware || slices.ContainsFunc(r.GCM, func(a cryptoapi.Algorithm) bool { return a.Hardware }):
		why = "serve changes this while it runs, if it has CAP_NET_ADMIN"
	}
	return fmt.Sprintf("crypto.prefer is %s, but the kernel selects %s: %s", want, cmp.Or(a.Driver, "no driver"), why)
}

// A preferState is the state file of a measurement and of its conditions. It is valid while all
// conditions are unchanged.
type preferState struct {
	Kernel     string                 `json:"kernel"`
	Model      string                 `json:"model"`
	Compatible []string               `json:"compatible"`
	Drivers    []string               `json:"drivers"` // all drivers of gcm(aes) at that time
	Hardware   bool                   `json:"hardware"`
	Bench      []selftest.Measurement `json:"bench"`
}

// valid reports whether m is valid for this machine in its present state: the same kernel and
// board, and no new driver of gcm(aes).
func (m *preferState) valid(r *platform.Report, b platform.Board) bool {
	return m.Kernel == r.Kernel && m.Model == b.Model && slices.Equal(m.Compatible, b.Compatible) &&
		!slices.ContainsFunc(r.GCM, func(a cryptoapi.Algorithm) bool { return !slices.Contains(m.Drivers, a.Driver) })
}

// hardwareIsFaster reports whether a hardware driver is the fastest for gcm(aes), as measured now or
// before. A driver that is wrong or dead does not count as fast.
func (t *Tester) hardwareIsFaster(ctx context.Context, path string, p *priority.Lock, verdicts platform.Verdicts, log *slog.Logger) (hardware bool, err error) {
	r, err := t.Probe(ctx, verdicts)
	if err != nil {
		return false, err
	}
	selected, _ := r.Selected(ktls.AESGCM.Suite())
	switch {
	case !r.Netlink.Usable:
		return false, fmt.Errorf("%s; %s", r.Netlink.Reason, r.Netlink.Remedy)
	case !slices.ContainsFunc(r.GCM, func(a cryptoapi.Algorithm) bool { return a.Hardware }):
		return false, errors.New("the kernel has no engine for gcm(aes), so there is no choice")
	case errors.Is(gcmFailure(verdicts), errUntested):
		return false, gcmFailure(verdicts)
	case gcmFailure(verdicts) != nil:
		return !selected.Hardware, nil
	case gcmDefect(r) != nil:
		return false, nil // kernel TLS is not used with the selected driver, and measuring it could corrupt memory
	}
	b, err := platform.ReadBoard(r.Kernel)
	if err != nil {
		return false, err
	}
	if m, err := readMeasured(path); err == nil && m.valid(r, b) {
		return m.Hardware, nil
	}
	if !platform.HasNetAdmin() { // the result could not be used
		return false, cryptoapi.ErrNotAllowed
	}
	first, err := t.Measure(ctx, selftest.Kernel, selected.Driver, selected.Hardware)
	if err != nil {
		return false, fmt.Errorf("kernel TLS with %s: not measured: %w", selected.Driver, err)
	}
	second, err := t.MeasureOther(ctx, p, !selected.Hardware, verdicts)
	if err != nil && !errors.Is(err, priority.ErrNoDriver) && !errors.Is(err, errWrong) || p.Changed() {
		return false, err // a transient failure: do not store the result
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	winner, other := Fastest(append(first, second...))
	if err != nil {
		log.Warn("kept the selected driver of gcm(aes), since the other could not be measured", "driver", selected.Driver, "reason", err)
	} else {
		log.Info("measured the drivers of gcm(aes)", "driver", winner.Driver, "mib_per_second", int(winner.MiBPerSecond),
			"second", other.Driver, "second_mib_per_second", int(other.MiBPerSecond))
	}
	if r, err = t.Probe(ctx, verdicts); err != nil { // measuring may have created drivers
		return false, err
	}
	m := &preferState{Kernel: r.Kernel, Model: b.Model, Compatible: b.Compatible, Hardware: winner.Hardware, Bench: append(first, second...)}
	for _, a := range r.GCM {
		m.Drivers = append(m.Drivers, a.Driver)
	}
	if err := statefile.Store(path, m); err != nil {
		log.Warn("could not store the measurement, so it is repeated at each start", "reason", err)
	}
	return winner.Hardware, nil
}

func readMeasured(path string) (*preferState, error) {
	var m preferState
	return &m, statefile.Load(path, &m)
}
