package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// Durations of a measurement: Brief at the start of the service, the other ones for a person.
const (
	benchTime       = time.Second
	benchBriefTime  = 400 * time.Millisecond
	driverTime      = 500 * time.Millisecond
	driverBriefTime = 100 * time.Millisecond
)

// Streams are the numbers of parallel connections that are measured. Comparisons use the last.
var Streams = []int{1, 4}

// A Measurement is the speed of one kind of encryption over the loopback interface.
type Measurement struct {
	Where    string `json:"where"`    // UserSpace or Kernel
	Driver   string `json:"driver"`   // crypto driver; "crypto/tls" in user space
	Hardware bool   `json:"hardware"` // the driver is, or uses, an engine outside the processor
	Streams  int    `json:"streams"`  // parallel connections
	// MiBPerSecond is plaintext of all streams together.
	MiBPerSecond float64 `json:"mib_per_second"`
	// SecondsPerGiB is the time of all processors of the machine, receiving included.
	SecondsPerGiB float64 `json:"processor_seconds_per_gib"`
}

// Places that are measured.
const (
	UserSpace = "user space"
	Kernel    = "kernel"
)

// Name returns a name for a person.
func (m Measurement) Name() string {
	if m.Where == Kernel {
		return "kernel TLS with " + m.Driver
	}
	return "TLS in user space"
}

// Speed returns the figures for a comparison.
func (m Measurement) Speed() platform.Speed {
	return platform.Speed{Kernel: m.Where == Kernel, MiBPerSecond: m.MiBPerSecond, SecondsPerGiB: m.SecondsPerGiB}
}

// Measure measures a cipher suite of TLS 1.3, and writes a Measurement without place and driver for
// each of Streams; only for the last if brief is true.
func Measure(kernel bool, suite uint16, brief bool, w io.Writer) error {
	streams, d := Streams, benchTime
	if brief {
		streams, d = Streams[len(Streams)-1:], benchBriefTime
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
			return fmt.Errorf("no data arrived in %v", took)
		}
		json.NewEncoder(w).Encode(Measurement{
			Streams:       n,
			MiBPerSecond:  float64(bytes) / (1 << 20) / took.Seconds(),
			SecondsPerGiB: (after - before).Seconds() / (float64(bytes) / (1 << 30)),
		})
	}
	return nil
}

// KnownAnswers asks a driver of gcm(aes) over AF_ALG for known answers, measures it if they are
// right, and writes a cryptoapi.DriverAnswer.
func KnownAnswers(driver string, brief bool, w io.Writer) error {
	a := cryptoapi.DriverAnswer{Driver: driver}
	err := cryptoapi.KnownAnswers(driver)
	a.Asked, a.Right, a.Wrong = !errors.Is(err, cryptoapi.ErrNoAFALG), err == nil, errors.Is(err, cryptoapi.ErrWrong)
	if a.Right {
		d := driverTime
		if brief {
			d = driverBriefTime
		}
		var n int64
		var took time.Duration
		if n, took, err = cryptoapi.MeasureDriver(driver, d); err == nil {
			a.MiBPerSecond = float64(n) / (1 << 20) / took.Seconds()
		}
	}
	if err != nil {
		a.Reason = err.Error()
	}
	return json.NewEncoder(w).Encode(a)
}
