package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// options are the settings of the command line.
type options struct {
	rows     *regexp.Regexp
	rounds   int
	seconds  int
	out      string
	program  string
	baseline string
}

func main() {
	var o options
	rows := flag.String("row", "", "regular expression that the names of the rows to measure match; default all")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each row is measured")
	flag.IntVar(&o.seconds, "seconds", 3, "time of one measurement")
	flag.StringVar(&o.out, "out", "", "directory to write benchmarks.md and benchmarks.svg to; default none")
	flag.StringVar(&o.program, "program", "build/uringhttpd", "the daemon to measure")
	flag.StringVar(&o.baseline, "baseline", "", "another build of the daemon, to compare with; default none")
	flag.Parse()
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		fmt.Fprintln(os.Stderr, "bench: -row:", err)
		os.Exit(2)
	}
	if o.rounds < 1 || o.seconds < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: -rounds and -seconds must be at least 1, and there are no arguments")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) (err error) {
	switch {
	case os.Geteuid() != 0:
		return errors.New("bench makes network namespaces, so it must run as root")
	case runtime.NumCPU() < 2:
		return errors.New("one processor for the server and one for the client are needed; this machine has one")
	}
	dir, err := os.MkdirTemp("", "uringhttpd-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// The workers of other servers run as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	n, err := newNetwork(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	site, err := newSite(ctx, dir, o.program)
	if err != nil {
		return err
	}
	var results []result
	for _, r := range rows {
		if !o.rows.MatchString(r.name) {
			continue
		}
		res, err := measureRow(ctx, o, n, site, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		results = append(results, res)
		fmt.Print(table([]result{res}))
	}
	if len(results) == 0 {
		return fmt.Errorf("no row matches; the rows are: %s", strings.Join(rowNames(), ", "))
	}
	if o.out == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(o.out, "benchmarks.md"), []byte(page(ctx, o, results)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.out, "benchmarks.svg"), []byte(picture(results)), 0o644)
}
