package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"uringhttpd/platform"
)

const (
	// afalgTime is how long a driver is measured over AF_ALG for a person, and
	// afalgStartTime for the start.
	afalgTime      = 500 * time.Millisecond
	afalgStartTime = 100 * time.Millisecond
	// afalgAnswerTime bounds what all drivers that are asked at the start take together.
	afalgAnswerTime = 10 * time.Second
)

// knownAnswers asks a driver, in this process.
func knownAnswers(driver string, d time.Duration, stdout io.Writer) error {
	a := platform.DriverAnswer{Driver: driver}
	err := platform.KnownAnswers(driver)
	a.Asked, a.Right, a.Wrong = !errors.Is(err, platform.ErrNoAFALG), err == nil, errors.Is(err, platform.ErrWrong)
	if a.Right {
		var n int64
		var took time.Duration
		if n, took, err = platform.MeasureDriver(driver, d); err == nil {
			a.MiBPerSecond = float64(n) / (1 << 20) / took.Seconds()
		}
	}
	if err != nil {
		a.Reason = err.Error()
	}
	return json.NewEncoder(stdout).Encode(a)
}

// askDriver does so in a process that can be left behind, should an engine be dead. The
// kernel must have the driver: asking would make it.
func askDriver(ctx context.Context, driver string, options ...string) platform.DriverAnswer {
	a := platform.DriverAnswer{Driver: driver}
	said, err := platform.Ask(ctx, "/proc/self/exe", append([]string{"selftest", "-driver", driver}, options...)...)
	if err == nil {
		err = json.Unmarshal([]byte(said), &a)
	}
	if err != nil {
		a.Asked = errors.Is(err, platform.ErrNoAnswer)
		a.Reason = strings.TrimSpace(err.Error() + " " + said)
	}
	return a
}

// askNamed asks a driver that a person has named.
func askNamed(driver string, report *platform.Report) *platform.DriverAnswer {
	if !slices.ContainsFunc(report.GCM, func(a platform.Algorithm) bool { return a.Driver == driver }) {
		return &platform.DriverAnswer{Driver: driver, Reason: "the kernel has no such driver of gcm(aes); the names are those above"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	a := askDriver(ctx, driver)
	return &a
}

// asked are the drivers of gcm(aes) to ask over AF_ALG: the one that the kernel picks, and each
// that is hardware. One of which a test of kernel TLS has waited in vain is left alone.
func asked(report *platform.Report, verdicts platform.Verdicts) []string {
	var all []string
	for i, a := range report.GCM {
		first := i == 0 && !errors.Is(wrongAES(verdicts), platform.ErrNoAnswer)
		if (first || i > 0 && a.Hardware) && a.SelfTest == "passed" && !a.Internal && a.Type == "aead" && !slices.Contains(all, a.Driver) {
			all = append(all, a.Driver)
		}
	}
	return all
}

// investigate is probe, with what drivers answer over AF_ALG. If the one that the kernel picks
// is wrong there, its ciphers are as if a test of kernel TLS had found that.
func investigate(ctx context.Context, verdicts platform.Verdicts) (*platform.Report, error) {
	report, err := probe(ctx, verdicts)
	if err != nil {
		return nil, err
	}
	answers := askDrivers(ctx, asked(report, verdicts))
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	picked, _ := report.Picked(tls.TLS_AES_128_GCM_SHA256)
	for _, a := range answers {
		if a.Wrong && a.Driver == picked.Driver {
			for _, suite := range suites[:2] {
				verdicts[suite] = platform.Verdict{Driver: a.Driver, Err: fmt.Errorf("over AF_ALG: %s", a.Reason)}
			}
			if report, err = probe(ctx, verdicts); err != nil {
				return nil, err
			}
		}
	}
	report.AFALG = answers
	return report, nil
}

func askDrivers(ctx context.Context, drivers []string) []platform.DriverAnswer {
	ctx, cancel := context.WithTimeout(ctx, afalgAnswerTime)
	defer cancel()
	var all []platform.DriverAnswer
	for _, driver := range drivers {
		if ctx.Err() != nil { // the one before does not answer
			all = append(all, platform.DriverAnswer{Driver: driver, Reason: "no time was left"})
			continue
		}
		all = append(all, askDriver(ctx, driver, "-brief"))
	}
	return all
}
