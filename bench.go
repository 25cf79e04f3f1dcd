package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/platform"
)

const (
	benchTime  = time.Second // of each measurement
	benchSuite = tls.TLS_AES_128_GCM_SHA256
	// briefTime is that of each measurement at the start.
	briefTime = 400 * time.Millisecond
)

// benchStreams are how many connections are measured at a time. The last is what
// decides.
var benchStreams = []int{1, 4}

// A measurement is what one kind of encryption reaches, over the loopback interface.
type measurement struct {
	Where    string `json:"where"`    // "user space", or "kernel"
	Driver   string `json:"driver"`   // who encrypts
	Hardware bool   `json:"hardware"` // an engine beside the processor does
	Streams  int    `json:"streams"`  // connections at a time
	// MiBPerSecond is of plaintext, of all streams together.
	MiBPerSecond float64 `json:"mib_per_second"`
	// SecondsPerGiB is the time of all processors of the machine, receiving included.
	SecondsPerGiB float64 `json:"processor_seconds_per_gib"`
}

func (m measurement) name() string {
	if m.Where == "kernel" {
		return "kernel TLS with " + m.Driver
	}
	return "TLS in user space"
}

func (m measurement) speed() platform.Speed {
	return platform.Speed{Kernel: m.Where == "kernel", MiBPerSecond: m.MiBPerSecond, SecondsPerGiB: m.SecondsPerGiB}
}

// measure has one kind of encryption run, and prints what it reaches: a JSON value for
// each of benchStreams, or briefly for the last.
func measure(kernel bool, suite uint16, brief bool, stdout io.Writer) error {
	streams, d := benchStreams, benchTime
	if brief {
		streams, d = benchStreams[len(benchStreams)-1:], briefTime
	}
	for _, n := range streams {
		before, err := platform.CPUTime()
		if err != nil {
			return err
		}
		bytes, took, err := ktls.Bench(context.Background(), suite, n, kernel, d)
		if err != nil {
			return err
		}
		after, err := platform.CPUTime()
		if err != nil {
			return err
		}
		if bytes == 0 {
			return fmt.Errorf("nothing came in %v", took)
		}
		json.NewEncoder(stdout).Encode(measurement{
			Streams:       n,
			MiBPerSecond:  float64(bytes) / (1 << 20) / took.Seconds(),
			SecondsPerGiB: (after - before).Seconds() / (float64(bytes) / (1 << 30)),
		})
	}
	return nil
}

// askMeasure measures in a process that can be left behind, should an engine die.
func askMeasure(ctx context.Context, where, driver string, hardware bool, options ...string) ([]measurement, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	said, err := platform.Ask(ctx, "/proc/self/exe", append([]string{"selftest", "-bench", where}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(said))
	}
	var all []measurement
	for d := json.NewDecoder(strings.NewReader(said)); ; {
		var m measurement
		switch err := d.Decode(&m); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %q", err, said)
		}
		m.Where, m.Driver, m.Hardware = where, driver, hardware
		all = append(all, m)
	}
}

// A benchmark is what doctor -bench measures, with the right to change what the kernel
// picks, if that can be had. Signals wait meanwhile: what the system was made to prefer
// has to be taken back.
type benchmark struct {
	signals    chan os.Signal
	preference *platform.Preference
	refused    error // why there is none
}

func newBenchmark() *benchmark {
	b := &benchmark{signals: make(chan os.Signal, 4)}
	signal.Notify(b.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGTSTP)
	b.preference, b.refused = platform.OpenPreference(restorePatience)
	return b
}

func (b *benchmark) close(stderr io.Writer) {
	if b.preference != nil {
		if err := b.preference.Close(); err != nil {
			fmt.Fprintln(stderr, "the kernel goes on to prefer another driver of gcm(aes):", err)
		}
	}
	signal.Stop(b.signals)
	signal.Reset(syscall.SIGTSTP)
}

// interrupted tells whether a signal came.
func (b *benchmark) interrupted() bool { return len(b.signals) > 0 }

// run measures TLS in user space, kernel TLS with the driver that the kernel picks, and
// kernel TLS with the best one of the other kind, hardware or not, if there is one and the
// kernel can be told to pick it. The error is about what was not measured, one line for
// each.
func (b *benchmark) run(r *platform.Report, verdicts platform.Verdicts) ([]measurement, error) {
	all, err := askMeasure(context.Background(), "user space", "crypto/tls", false)
	if err != nil {
		err = fmt.Errorf("TLS in user space: not measured: %w", err)
	}
	picked, perr := b.picked(r)
	known, _ := r.Picked(benchSuite)
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

func (b *benchmark) picked(r *platform.Report) ([]measurement, error) {
	picked, ok := r.Picked(benchSuite)
	why := ""
	switch {
	case b.interrupted():
		why = "interrupted"
	case !ok:
		why = "its driver is not known"
	}
	for _, c := range r.Ciphers {
		if c.Suite == benchSuite && !c.Usable {
			why = c.Reason
		}
	}
	if why != "" {
		return nil, fmt.Errorf("kernel TLS with %s: not measured: %s", cmp.Or(picked.Driver, "AES-GCM"), why)
	}
	all, err := askMeasure(context.Background(), "kernel", picked.Driver, picked.Hardware)
	if err != nil {
		return nil, fmt.Errorf("kernel TLS with %s: not measured: %w", picked.Driver, err)
	}
	return all, nil
}

func (b *benchmark) other(hardware bool, verdicts platform.Verdicts) ([]measurement, error) {
	switch {
	case b.preference == nil:
		return nil, b.refused
	case b.interrupted():
		return nil, errors.New("interrupted")
	}
	return benchOther(b.preference, hardware, verdicts)
}

// benchOther measures kernel TLS with another driver, which the kernel is told to pick
// meanwhile. None of it is left if p.Changed is false then.
func benchOther(p *platform.Preference, hardware bool, verdicts platform.Verdicts) (all []measurement, err error) {
	raised, err := p.Prefer(hardware)
	if err != nil {
		return nil, err
	}
	if raised == nil {
		return nil, errors.New("it is the one that was measured")
	}
	defer func() { err = errors.Join(err, p.Undo()) }()
	if err := worse(verdicts, testCiphers(context.Background())); err != nil {
		return nil, err
	}
	return askMeasure(context.Background(), "kernel", raised.Driver, hardware)
}

// fastest is the one with the most throughput, of those with most streams; of two that
// are about as fast, the one that leaves more of the processors to others.
func fastest(all []measurement) (winner, second measurement) {
	better := func(a, b measurement) bool { return a.speed().Better(b.speed()) }
	for _, m := range all {
		switch {
		case m.Streams != benchStreams[len(benchStreams)-1]:
		case winner.Streams == 0 || better(m, winner):
			winner, second = m, winner
		case second.Streams == 0 || better(m, second):
			second = m
		}
	}
	return winner, second
}

// benchText is the outcome for people.
func benchText(all []measurement) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "bench: %s, %d at a time: %.1f MiB/s, %.2f s of processor time per GiB\n", m.name(), m.Streams, m.MiBPerSecond, m.SecondsPerGiB)
	}
	if winner, second := fastest(all); second.Streams > 0 {
		fmt.Fprintf(&b, "bench: the fastest is %s: %.2f times the throughput of %s, at %.2f times its processor time\n",
			winner.name(), winner.MiBPerSecond/second.MiBPerSecond, second.name(), winner.SecondsPerGiB/second.SecondsPerGiB)
	}
	return b.String()
}
