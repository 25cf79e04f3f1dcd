// Package doctor reports to an operator how well the machine can serve HTTPS, and the choice that
// the service would make. It changes nothing, except that a benchmark sets driver priorities while
// it runs.
package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"uringhttpd/config"
	"uringhttpd/offload"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
)

// A Status is the outcome, which is also the exit status of the command.
type Status int

// Statuses.
const (
	Ready    Status = 0
	Degraded Status = 1 // it works, but slower or with less trust than it could
	Unusable Status = 2 // it cannot serve, or the configuration is wrong
)

// Options select the parts of the report.
type Options struct {
	Config string // path of the configuration
	JSON   bool   // print one JSON object
	Bench  bool   // measure encryption
	Driver string // driver of gcm(aes) to ask for known answers; "" for none
}

// A Report is the JSON object that Run prints.
type Report struct {
	Board platform.Board `json:"board"`
	*platform.Report
	Bench   []selftest.Measurement  `json:"bench,omitempty"`
	Driver  *cryptoapi.DriverAnswer `json:"known_answers,omitempty"`
	Sources string                  `json:"sources"`
	Verdict string                  `json:"verdict"`
	Status  Status                  `json:"status"`
}

// Run reports on this machine.
func Run(t *offload.Tester, o Options, stdout, stderr io.Writer) Status {
	ctx := context.Background()
	var b *offload.Benchmark
	if o.Bench {
		b = offload.NewBenchmark(t)
		defer b.Close(stderr)
	}
	c := readConfig(o.Config)
	t.Fixes = c.Crypto.KernelFixes
	verdicts := t.Verdicts(ctx)
	report, err := t.Investigate(ctx, verdicts)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return Unusable
	}
	r := Report{Report: report}
	if r.Board, err = platform.ReadBoard(report.Kernel); err != nil {
		fmt.Fprintln(stderr, err)
		return Unusable
	}
	r.judge(ctx, t, c, stderr)
	if o.Bench {
		if r.Bench, err = b.Run(report, verdicts); err != nil {
			fmt.Fprintln(stderr, err)
		}
	}
	if o.Driver != "" {
		a := t.KnownAnswers(ctx, o.Driver, report)
		r.Driver = &a
		if a.Asked && !a.Right && r.Status != Unusable {
			r.Status, r.Verdict = Degraded, fmt.Sprintf("%s; the known-answer test of %s failed", r.Verdict, o.Driver)
		}
	}
	r.Sources = report.Sources()
	if o.JSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		e.Encode(r)
		return r.Status
	}
	r.print(stdout)
	return r.Status
}

// judge sets the verdict and the status.
func (r *Report) judge(ctx context.Context, t *offload.Tester, c *configuration, stderr io.Writer) {
	if offload.NeedsMeasurement(c.Config, r.Report) { // as the service does, but the result is not stored
		r.Speeds = t.Speeds(ctx, false, r.Report, slog.New(slog.DiscardHandler))
	}
	choice, err := offload.Choose(c.Config, r.Report)
	switch r.Verdict = choice.String(); {
	case c.err != nil:
		fmt.Fprintln(stderr, c.err)
		r.Status, r.Verdict = Unusable, "the configuration is wrong: "+strings.ReplaceAll(c.err.Error(), "\n", ". ")
	case err != nil:
		r.Status, r.Verdict = Unusable, err.Error()
	case choice.Warning != "":
		r.Status, r.Verdict = Degraded, r.Verdict+"; "+choice.Warning
	case !r.KernelTLS.Usable:
		r.Status = Degraded
	}
	if text := offload.NotPreferred(c.Crypto.Prefer, r.Report); text != "" && r.Status != Unusable {
		r.Status, r.Verdict = Degraded, r.Verdict+"; "+text
	}
	if c.unread != "" {
		r.Verdict += ". This is for the default configuration: " + c.unread
	}
}

// A configuration is the service's, or the default configuration if the service's cannot be read:
// the report on the machine does not need it.
type configuration struct {
	*config.Config
	unread string // why this user cannot read the file; "" if it was read
	err    error  // of the file's content; nil if there is none
}

// readConfig reads the configuration at path. A file that this user may not read, or that is not
// installed yet, is no error.
func readConfig(path string) *configuration {
	cfg, err := config.Load(path)
	if err == nil {
		return &configuration{Config: cfg}
	}
	c := &configuration{err: err}
	switch {
	case errors.Is(err, os.ErrPermission):
		c.unread, c.err = err.Error(), nil
	case errors.Is(err, os.ErrNotExist) && path == config.DefaultPath: // not installed yet
		c.err = nil
	}
	c.Config, err = config.Parse(config.Example(), path)
	c.err = cmp.Or(c.err, err)
	return c
}
