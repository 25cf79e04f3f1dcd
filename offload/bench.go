package offload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"uringhttpd/ktls"
	"uringhttpd/offload/priority"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
)

// A Benchmark runs the measurements of doctor -bench. If this process may change priorities, it also
// measures a driver that the kernel does not select. It defers signals until Close, since a changed
// priority must be reverted.
type Benchmark struct {
	signals chan os.Signal
	tester  *Tester
	lock    *priority.Lock // nil if priorities cannot be changed
	refused error          // why lock is nil
}

// NewBenchmark returns a Benchmark that measures with t, and starts to defer signals. The caller
// must call Close.
func NewBenchmark(t *Tester) *Benchmark {
	b := &Benchmark{signals: make(chan os.Signal, 4), tester: t}
	signal.Notify(b.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGTSTP)
	b.lock, b.refused = priority.Acquire(restorePatience)
	return b
}

// Close reverts a changed priority and stops deferring signals. It writes an error to stderr.
func (b *Benchmark) Close(stderr io.Writer) {
	if b.lock != nil {
		if err := b.lock.Release(); err != nil {
			fmt.Fprintln(stderr, "could not restore the priority of the driver of gcm(aes):", err)
		}
	}
	signal.Stop(b.signals)
	signal.Reset(syscall.SIGTSTP)
}

// interrupted reports whether a signal was received.
func (b *Benchmark) interrupted() bool { return len(b.signals) > 0 }

// Run measures TLS in user space, kernel TLS with the selected driver, and kernel TLS with the best
// driver of the other kind, hardware or not, if there is such a driver and its priority can be
// raised. The error has one line for each measurement that is missing.
func (b *Benchmark) Run(r *platform.Report, verdicts platform.Verdicts) ([]selftest.Measurement, error) {
	all, err := b.tester.Measure(context.Background(), selftest.UserSpace, "crypto/tls", false)
	if err != nil {
		err = fmt.Errorf("TLS in user space: not measured: %w", err)
	}
	selected, perr := b.measureSelected(r)
	known, _ := r.Selected(ktls.AESGCM.Suite())
	other, oerr := b.measureOther(!known.Hardware, verdicts)
	if oerr != nil {
		kind := "an engine"
		if known.Hardware {
			kind = "the processor"
		}
		oerr = fmt.Errorf("kernel TLS with %s: not measured: %w", kind, oerr)
	}
	return slices.Concat(all, selected, other), errors.Join(err, perr, oerr)
}

func (b *Benchmark) measureSelected(r *platform.Report) ([]selftest.Measurement, error) {
	selected, ok := r.Selected(ktls.AESGCM.Suite())
	why := ""
	switch {
	case b.interrupted():
		why = "interrupted"
	case !ok:
		why = "its driver is not known"
	}
	for _, c := range r.Ciphers {
		if c.Suite == ktls.AESGCM.Suite() && !c.Usable {
			why = c.Reason
		}
	}
	if why != "" {
		return nil, fmt.Errorf("kernel TLS with %s: not measured: %s", cmp.Or(selected.Driver, "AES-GCM"), why)
	}
	all, err := b.tester.Measure(context.Background(), selftest.Kernel, selected.Driver, selected.Hardware)
	if err != nil {
		return nil, fmt.Errorf("kernel TLS with %s: not measured: %w", selected.Driver, err)
	}
	return all, nil
}

func (b *Benchmark) measureOther(hardware bool, verdicts platform.Verdicts) ([]selftest.Measurement, error) {
	switch {
	case b.lock == nil:
		return nil, b.refused
	case b.interrupted():
		return nil, errors.New("interrupted")
	}
	return b.tester.MeasureOther(context.Background(), b.lock, hardware, verdicts)
}

// MeasureOther measures kernel TLS with another driver, whose priority it raises meanwhile. If
// p.Changed is false afterwards, the priority is restored.
func (t *Tester) MeasureOther(ctx context.Context, p *priority.Lock, hardware bool, verdicts platform.Verdicts) (all []selftest.Measurement, err error) {
	raised, err := p.Raise(hardware)
	if err != nil {
		return nil, err
	}
	if raised == nil {
		return nil, errors.New("it is the driver that was measured first")
	}
	defer func() { err = errors.Join(err, p.Revert()) }()
	if err := t.reasonToRevert(ctx, verdicts, t.Verdicts(ctx), raised.Driver); err != nil {
		return nil, err
	}
	return t.Measure(ctx, selftest.Kernel, raised.Driver, hardware)
}

// Fastest returns the best and the second best of the measurements with the most streams. The best
// has the most throughput or, among those with about the same, uses less processor time.
func Fastest(all []selftest.Measurement) (winner, second selftest.Measurement) {
	better := func(a, b selftest.Measurement) bool { return a.Speed().Better(b.Speed()) }
	for _, m := range all {
		switch {
		case m.Streams != selftest.Streams[len(selftest.Streams)-1]:
		case winner.Streams == 0 || better(m, winner):
			winner, second = m, winner
		case second.Streams == 0 || better(m, second):
			second = m
		}
	}
	return winner, second
}

// BenchText formats the measurements and the winner as lines of text for people.
func BenchText(all []selftest.Measurement) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "bench: %s, %d connections: %.1f MiB/s, %.2f s of processor time per GiB\n", m.Name(), m.Streams, m.MiBPerSecond, m.SecondsPerGiB)
	}
	if winner, second := Fastest(all); second.Streams > 0 {
		fmt.Fprintf(&b, "bench: the fastest is %s: %.2f times the throughput of %s, at %.2f times its processor time\n",
			winner.Name(), winner.MiBPerSecond/second.MiBPerSecond, second.Name(), winner.SecondsPerGiB/second.SecondsPerGiB)
	}
	return b.String()
}
