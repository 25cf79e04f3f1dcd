package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"uringhttpd/platform"
)

// afalgTime is how long a driver is measured over AF_ALG.
const afalgTime = 500 * time.Millisecond

// A driverAnswer is what became of the known answers of one driver.
type driverAnswer struct {
	Driver string `json:"driver"`
	Asked  bool   `json:"asked"`            // AF_ALG reaches it
	Right  bool   `json:"right"`            // it gave the known answers
	Reason string `json:"reason,omitempty"` // why not
	// MiBPerSecond is of records of 16 KiB, one after the other, each copied twice.
	MiBPerSecond float64 `json:"mib_per_second,omitempty"`
}

func (a *driverAnswer) String() string {
	switch {
	case a == nil:
		return ""
	case !a.Asked:
		return fmt.Sprintf("known answers: %s: not asked: %s\n", a.Driver, a.Reason)
	case !a.Right:
		return fmt.Sprintf("known answers: %s: wrong: %s\n", a.Driver, a.Reason)
	}
	if a.MiBPerSecond == 0 {
		return fmt.Sprintf("known answers: %s: right; not measured: %s\n", a.Driver, a.Reason)
	}
	return fmt.Sprintf("known answers: %s: right; %.1f MiB/s over AF_ALG, one record at a time\n", a.Driver, a.MiBPerSecond)
}

// knownAnswers asks a driver, in this process.
func knownAnswers(driver string, stdout io.Writer) error {
	a := driverAnswer{Driver: driver}
	err := platform.KnownAnswers(driver)
	if a.Asked = !errors.Is(err, platform.ErrNoAFALG); err == nil {
		a.Right = true
		var n int64
		var took time.Duration
		if n, took, err = platform.MeasureDriver(driver, afalgTime); err == nil {
			a.MiBPerSecond = float64(n) / (1 << 20) / took.Seconds()
		}
	}
	if err != nil {
		a.Reason = err.Error()
	}
	return json.NewEncoder(stdout).Encode(a)
}

// askDriver does so in a process that can be left behind, should an engine be dead.
func askDriver(driver string, report *platform.Report) *driverAnswer {
	if !slices.ContainsFunc(report.GCM, func(a platform.Algorithm) bool { return a.Driver == driver }) { // asking would make it
		return &driverAnswer{Driver: driver, Reason: "the kernel has no such driver of gcm(aes); the names are those above"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	a := &driverAnswer{Driver: driver}
	said, err := platform.Ask(ctx, "/proc/self/exe", "selftest", "-driver", driver)
	if err == nil {
		err = json.Unmarshal([]byte(said), a)
	}
	if err != nil {
		a.Asked = errors.Is(err, platform.ErrNoAnswer)
		a.Reason = strings.TrimSpace(err.Error() + " " + said)
	}
	return a
}
