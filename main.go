// Command uringhttpd serves a directory of firmware and asset files over HTTPS,
// with kernel TLS and one io_uring.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"uringhttpd/config"
	"uringhttpd/offload"
	"uringhttpd/service"
	"uringhttpd/systemd"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1  // serve: a failure that may be temporary; doctor: degraded
	exitUsage  = 2  // usage error; check: invalid configuration; doctor: cannot serve. Go exits with it after a crash
	exitConfig = 78 // serve: a person must change the configuration; EX_CONFIG of sysexits.h
)

const usage = `usage: uringhttpd COMMAND [options]

  serve    serve the directory that the configuration names
  check    check the configuration and the files that it names; report every problem
  doctor   report the support for HTTPS on this machine, and the selection of serve
  selftest encrypt with kernel TLS and verify the result
  keygen   generate a key and a self-signed certificate
  version  print version, commit, Go version and architecture

uringhttpd COMMAND -h lists a command's options.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	commands := map[string]func([]string, io.Writer, io.Writer) int{
		"serve": serve, "check": check, "doctor": runDoctor, "selftest": runSelftest, "keygen": createKey, "version": version,
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	if command, ok := commands[args[0]]; ok {
		return command(args[1:], stdout, stderr)
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		fmt.Fprint(stdout, usage)
		return exitOK
	case "-version", "--version", "-v", "-V":
		return version(args[1:], stdout, stderr)
	}
	fmt.Fprintf(stderr, "uringhttpd: unknown command %q\n%s", args[0], usage)
	return exitUsage
}

func configFlag(flags *flag.FlagSet) *string {
	return flags.String("config", config.DefaultPath, "read the configuration from `FILE`")
}

// load reads the configuration and opens the files that it names.
func load(path string) (*config.Config, *service.Opened, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, nil, err
	}
	opened, err := service.Open(cfg)
	return cfg, opened, err
}

// check reports all problems of the configuration.
func check(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := configFlag(flags)
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	cfg, err := config.Load(*path)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	summary, warnings, err := service.Check(cfg)
	for _, w := range warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	fmt.Fprintf(stdout, "OK: %s\n", summary)
	return exitOK
}

// serve runs the daemon.
func serve(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := configFlag(flags)
	restore := flags.Bool("restore", false, "restore the driver priorities changed by a killed instance, and exit")
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	if *restore {
		if err := offload.RestorePreference(); err != nil {
			complain(stderr, err)
			return exitFailed
		}
		return exitOK
	}
	// Before any child is started, so that no child inherits the sockets.
	passed, err := systemd.Sockets()
	if err != nil {
		complain(stderr, err)
		return exitFailed
	}
	cfg, opened, err := load(*path)
	if err != nil {
		complain(stderr, err)
		return serveStatus(err)
	}
	defer opened.Close()
	daemon := service.Daemon{Config: cfg, Opened: opened, Passed: passed, Tester: newTester(), Log: stderr}
	if err := daemon.Run(); err != nil {
		complain(stderr, err)
		return serveStatus(err)
	}
	return exitOK
}

// serveStatus returns the exit status of serve for err. The unit restarts the service
// unless the status is exitConfig, which means that a person must change the configuration.
func serveStatus(err error) int {
	var wrong interface{ Temporary() bool }
	problems, unread := config.Problems(nil), (*config.FileError)(nil)
	switch {
	case errors.As(err, &problems):
		wrong = problems
	case errors.As(err, &unread):
		wrong = unread
	}
	if wrong != nil && !wrong.Temporary() {
		return exitConfig
	}
	return exitFailed
}

// complain writes the error with which the service exits, at the error level if standard error
// is the journal.
func complain(stderr io.Writer, err error) {
	prefix := ""
	if systemd.Journal() {
		prefix = systemd.LevelPrefix(slog.LevelError)
	}
	for line := range strings.Lines(err.Error() + "\n") {
		fmt.Fprint(stderr, prefix+line)
	}
}

// Version of the program; the Makefile and packagers may set it with -ldflags -X.
var Version = "0.1.0-dev"
