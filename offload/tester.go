package offload

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

var (
	// ErrInconclusive is wrapped by the error of a test without a result.
	ErrInconclusive = errors.New("offload: the crypto driver could not be tested")
	// errUntested is wrapped by verdicts of suites that could not be tested.
	errUntested = errors.New("the test could not run")
)

// childTime limits a child that tests, its start and end included.
const childTime = selftest.Time + 5*time.Second

// A Tester tests crypto drivers in child processes of this program, which run the command selftest,
// and probes the machine. Its methods may be called from several goroutines.
type Tester struct {
	// Fixes are the defects that are fixed in this kernel although its version does not show it. Set
	// them before the first method is called.
	Fixes platform.KernelFixes

	rings   *platform.Rings
	program string // version of this program and of Go
	run     func(ctx context.Context, args ...string) (output string, err error)
}

// NewTester returns a Tester. rings probes io_uring; version is the version of this program, since
// measurements of another version are not used.
func NewTester(rings *platform.Rings, version string) *Tester {
	return &Tester{rings: rings, program: version + " " + runtime.Version(), run: func(ctx context.Context, args ...string) (string, error) {
		return runAbandonable(ctx, "/proc/self/exe", append([]string{"selftest"}, args...)...)
	}}
}

// Probe reports the features of the machine, within a minute. Suites with a failed verdict are not
// usable.
func (t *Tester) Probe(ctx context.Context, verdicts platform.Verdicts) (*platform.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return platform.Probe(ctx, t.rings, verdicts, t.Fixes)
}

// Verdicts tests all suites of ktls.Suites. If the test could not run, and a driver may
// be asynchronous, all suites get a failed verdict, since a dead engine would block its callers.
func (t *Tester) Verdicts(ctx context.Context) platform.Verdicts {
	verdicts, err := t.test(ctx)
	if err != nil && cryptoapi.MayWait() {
		verdicts = platform.Verdicts{}
		for _, suite := range ktls.Suites() {
			verdicts[suite.ID] = platform.Verdict{Err: fmt.Errorf("%w: %w", errUntested, err)}
		}
	}
	return verdicts
}

// test returns the verdicts of a child, and an error if they are not complete.
func (t *Tester) test(ctx context.Context) (platform.Verdicts, error) {
	ctx, cancel := context.WithTimeout(ctx, childTime)
	defer cancel()
	args := []string{"-json"}
	if len(t.Fixes) > 0 {
		args = append(args, "-fixes", strings.Join(t.Fixes, ","))
	}
	output, err := t.run(ctx, args...)
	var failed *exitError
	if err != nil && !errors.As(err, &failed) && !errors.Is(err, platform.ErrTimeout) {
		return platform.Verdicts{}, err
	}
	return readVerdicts(output, err)
}

// readVerdicts reads the results that a child has written before it ended with the error ended. A
// suite without a result gets a failed verdict if the child did not end in time.
func readVerdicts(output string, ended error) (platform.Verdicts, error) {
	results := map[string]selftest.Result{}
	for line := range strings.Lines(output) {
		var r selftest.Result
		if json.Unmarshal([]byte(line), &r) == nil {
			results[r.Cipher] = r
		}
	}
	verdicts := platform.Verdicts{}
	suites, known := ktls.Suites(), 0
	for _, suite := range suites {
		r, ok := results[suite.Name()]
		switch {
		case !ok && errors.Is(ended, platform.ErrTimeout):
			verdicts[suite.ID] = platform.Verdict{Err: ended}
		case !ok:
			continue
		case r.Outcome == selftest.Right:
			verdicts[suite.ID] = platform.Verdict{Driver: r.Driver}
		case r.Outcome == selftest.Wrong:
			verdicts[suite.ID] = platform.Verdict{Err: errors.New(r.Reason)}
		case r.Outcome != selftest.Unsupported && r.Outcome != selftest.Untested:
			continue
		}
		known++
	}
	if known < len(suites) {
		return verdicts, fmt.Errorf("selftest: %w: %q", cmp.Or(ended, errors.New("results are missing")), output)
	}
	return verdicts, nil
}

// Test tests suites. It returns the error of the first failed suite, or an error that wraps
// ErrInconclusive if none failed and one was not tested.
func (t *Tester) Test(ctx context.Context, suites []uint16) error {
	verdicts, err := t.test(ctx)
	return firstFailure(suites, verdicts, err)
}

// firstFailure is Test for the verdicts of a child that ended with err.
func firstFailure(suites []uint16, verdicts platform.Verdicts, err error) error {
	var untested error
	for _, suite := range suites {
		switch verdict, ok := verdicts[suite]; {
		case verdict.Err != nil:
			return verdict.Err
		case !ok:
			untested = fmt.Errorf("%w: %w", ErrInconclusive, cmp.Or(err, errUntested))
		}
	}
	return untested
}

// TestDrivers tests all suites, and returns the drivers that the kernel selects for them, with the
// results. The error is the reason why a result is missing.
func (t *Tester) TestDrivers(ctx context.Context) ([]TestResult, error) {
	verdicts, err := t.test(ctx)
	if err != nil && len(verdicts) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, selftest.Time)
	defer cancel()
	report, perr := t.Probe(ctx, verdicts)
	if perr != nil {
		return nil, errors.Join(err, perr)
	}
	return Results(report), err
}

// Measure measures encryption in a child. options are those of the command selftest. driver and
// hardware are copied into the measurements.
func (t *Tester) Measure(ctx context.Context, where, driver string, hardware bool, options ...string) ([]selftest.Measurement, error) {
	ctx, cancel := context.WithTimeout(ctx, childTime)
	defer cancel()
	output, err := t.run(ctx, append([]string{"-bench", where}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(output))
	}
	var all []selftest.Measurement
	for d := json.NewDecoder(strings.NewReader(output)); ; {
		var m selftest.Measurement
		switch err := d.Decode(&m); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %q", err, output)
		}
		m.Where, m.Driver, m.Hardware = where, driver, hardware
		all = append(all, m)
	}
}
