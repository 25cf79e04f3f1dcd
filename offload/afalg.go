package offload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// afalgTime limits the tests of all drivers over AF_ALG together, at the start.
const afalgTime = 10 * time.Second

// KnownAnswers runs the known-answer tests of a driver of gcm(aes) over AF_ALG, in a child process.
// options are those of the command selftest. A driver that report does not list is not tested, since
// the kernel might create it for the test.
func (t *Tester) KnownAnswers(ctx context.Context, driver string, report *platform.Report, options ...string) cryptoapi.DriverAnswer {
	a := cryptoapi.DriverAnswer{Driver: driver}
	if !slices.ContainsFunc(report.GCM, func(a cryptoapi.Algorithm) bool { return a.Driver == driver }) {
		a.Reason = "the kernel has no driver of gcm(aes) with this name. The report lists the names"
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, childTime)
	defer cancel()
	output, err := t.run(ctx, append([]string{"-driver", driver}, options...)...)
	if err == nil {
		err = json.Unmarshal([]byte(output), &a)
	}
	if err != nil {
		a.Asked = errors.Is(err, platform.ErrTimeout)
		a.Reason = strings.TrimSpace(err.Error() + " " + output)
	}
	return a
}

// candidates returns the drivers of gcm(aes) to test over AF_ALG: the selected driver, unless its
// self-test timed out, and each hardware driver.
func candidates(report *platform.Report, verdicts platform.Verdicts) []string {
	var all []string
	for i, a := range report.GCM {
		first := i == 0 && !errors.Is(gcmFailure(verdicts), platform.ErrTimeout)
		if (first || i > 0 && a.Hardware) && a.SelfTest == "passed" && !a.Internal && a.Type == "aead" && !slices.Contains(all, a.Driver) {
			all = append(all, a.Driver)
		}
	}
	return all
}

// Investigate is Probe with the results of the tests over AF_ALG. If the selected driver of gcm(aes)
// fails such a test, Investigate sets its verdicts, and its suites are not usable.
func (t *Tester) Investigate(ctx context.Context, verdicts platform.Verdicts) (*platform.Report, error) {
	report, err := t.Probe(ctx, verdicts)
	if err != nil {
		return nil, err
	}
	answers := t.testAll(ctx, report, candidates(report, verdicts))
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	selected, _ := report.Selected(ktls.AESGCM.Suite())
	if distrust(verdicts, answers, selected.Driver) {
		if report, err = t.Probe(ctx, verdicts); err != nil {
			return nil, err
		}
	}
	report.AFALG = answers
	return report, nil
}

// distrust sets the verdicts on AES-GCM if the selected driver gave a wrong answer over AF_ALG, and
// reports whether it did. A failure of the self-test has precedence, since it is closer to the
// actual use.
func distrust(verdicts platform.Verdicts, answers []cryptoapi.DriverAnswer, selected string) bool {
	if gcmFailure(verdicts) != nil {
		return false
	}
	for _, a := range answers {
		if a.Wrong && a.Driver == selected {
			for _, suite := range ktls.AESGCM.Suites() {
				verdicts[suite.ID] = platform.Verdict{Driver: a.Driver, Err: fmt.Errorf("over AF_ALG: %s", a.Reason)}
			}
			return true
		}
	}
	return false
}

// testAll tests drivers over AF_ALG.
func (t *Tester) testAll(ctx context.Context, report *platform.Report, drivers []string) []cryptoapi.DriverAnswer {
	ctx, cancel := context.WithTimeout(ctx, afalgTime)
	defer cancel()
	var all []cryptoapi.DriverAnswer
	for _, driver := range drivers {
		if ctx.Err() != nil { // an earlier driver did not answer
			all = append(all, cryptoapi.DriverAnswer{Driver: driver, Reason: "earlier drivers used up the time"})
			continue
		}
		all = append(all, t.KnownAnswers(ctx, driver, report, "-brief"))
	}
	return all
}
