package offload

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
)

// BenchSuite is the cipher suite that drivers are compared with.
const BenchSuite = tls.TLS_AES_128_GCM_SHA256

// A Benchmark is what doctor -bench measures, with the right to change what the kernel
// picks, if that can be had. Signals wait meanwhile: what the system was made to prefer
// has to be taken back.
type Benchmark struct {
	signals    chan os.Signal
	tester     *Tester
	preference *platform.Preference
	refused    error // why there is none
}

func NewBenchmark(t *Tester) *Benchmark {
	b := &Benchmark{signals: make(chan os.Signal, 4), tester: t}
	signal.Notify(b.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGTSTP)
	b.preference, b.refused = platform.OpenPreference(restorePatience)
	return b
}

func (b *Benchmark) Close(stderr io.Writer) {
	if b.preference != nil {
		if err := b.preference.Close(); err != nil {
			fmt.Fprintln(stderr, "the kernel goes on to prefer another driver of gcm(aes):", err)
		}
	}
	signal.Stop(b.signals)
	signal.Reset(syscall.SIGTSTP)
}

// interrupted tells whether a signal came.
func (b *Benchmark) interrupted() bool { return len(b.signals) > 0 }

// Run measures TLS in user space, kernel TLS with the driver that the kernel picks, and
// kernel TLS with the best one of the other kind, hardware or not, if there is one and the
// kernel can be told to pick it. The error is about what was not measured, one line for
// each.
func (b *Benchmark) Run(r *platform.Report, verdicts platform.Verdicts) ([]selftest.Measurement, error) {
	all, err := b.tester.Measure(context.Background(), "user space", "crypto/tls", false)
	if err != nil {
		err = fmt.Errorf("TLS in user space: not measured: %w", err)
	}
	picked, perr := b.picked(r)
	known, _ := r.Picked(BenchSuite)
	other, oerr := b.other(!known.Hardware, verdicts)
	if oerr != nil {
		who := "an engine"
		if known.Hardware {
			who = "the processor"
		}
		oerr = fmt.Errorf("kernel TLS with %s: not measured: %w", who, oerr)
	}
	return slices.Concat(all, picked, other), errors.Join(err, perr, oerr)
}

func (b *Benchmark) picked(r *platform.Report) ([]selftest.Measurement, error) {
	picked, ok := r.Picked(BenchSuite)
	why := ""
	switch {
	case b.interrupted():
		why = "interrupted"
	case !ok:
		why = "its driver is not known"
	}
	for _, c := range r.Ciphers {
		if c.Suite == BenchSuite && !c.Usable {
			why = c.Reason
		}
	}
	if why != "" {
		return nil, fmt.Errorf("kernel TLS with %s: not measured: %s", cmp.Or(picked.Driver, "AES-GCM"), why)
	}
	all, err := b.tester.Measure(context.Background(), "kernel", picked.Driver, picked.Hardware)
	if err != nil {
		return nil, fmt.Errorf("kernel TLS with %s: not measured: %w", picked.Driver, err)
	}
	return all, nil
}

func (b *Benchmark) other(hardware bool, verdicts platform.Verdicts) ([]selftest.Measurement, error) {
	switch {
	case b.preference == nil:
		return nil, b.refused
	case b.interrupted():
		return nil, errors.New("interrupted")
	}
	return b.tester.MeasureOther(context.Background(), b.preference, hardware, verdicts)
}

// MeasureOther measures kernel TLS with another driver, which the kernel is told to pick
// meanwhile. None of it is left if p.Changed is false then.
func (t *Tester) MeasureOther(ctx context.Context, p *platform.Preference, hardware bool, verdicts platform.Verdicts) (all []selftest.Measurement, err error) {
	raised, err := p.Prefer(hardware)
	if err != nil {
		return nil, err
	}
	if raised == nil {
		return nil, errors.New("it is the one that was measured")
	}
	defer func() { err = errors.Join(err, p.Undo()) }()
	if err := worse(verdicts, t.Verdicts(ctx)); err != nil {
		return nil, err
	}
	return t.Measure(ctx, "kernel", raised.Driver, hardware)
}

// Fastest is the one with the most throughput, of those with most streams; of two that
// are about as fast, the one that leaves more of the processors to others.
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

// BenchText is the outcome for people.
func BenchText(all []selftest.Measurement) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "bench: %s, %d at a time: %.1f MiB/s, %.2f s of processor time per GiB\n", m.Name(), m.Streams, m.MiBPerSecond, m.SecondsPerGiB)
	}
	if winner, second := Fastest(all); second.Streams > 0 {
		fmt.Fprintf(&b, "bench: the fastest is %s: %.2f times the throughput of %s, at %.2f times its processor time\n",
			winner.Name(), winner.MiBPerSecond/second.MiBPerSecond, second.Name(), winner.SecondsPerGiB/second.SecondsPerGiB)
	}
	return b.String()
}
