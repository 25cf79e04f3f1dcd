package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// about returns the first paragraph of a command's help.
func about(command string) string {
	return map[string]string{
		"serve": "Serves the directory that the configuration names, over HTTPS and HTTP, until SIGTERM or SIGINT.\n" +
			"The exit status is 0 after such a signal, 1 after a failure that may be temporary, and 78 if a person must change the configuration.",
		"check": "Reads the configuration and the files that it names, and reports each problem with its line. It serves nothing.\n" +
			"The exit status is 0 if there are only warnings, else 2.",
		"doctor": "Reports the support for HTTPS on this machine, and the selection of serve.\n" +
			"The exit status is 0 if all is ready, 1 if the service works, but degraded, and 2 if it cannot serve.",
		"selftest": "Encrypts with each cipher that kernel TLS supports, and verifies the result.\n" +
			"The exit status is 0 if all are correct, 1 if one is wrong, or its test could harm this kernel, and 2 if kernel TLS supports none.",
		"keygen": "Generates a private key and a self-signed certificate, and never overwrites a file.\n" +
			"A file that an interrupted run has left empty or truncated is kept under another name and generated again.",
		"version": "Prints version, commit, Go version and architecture.",
	}[command]
}

// help writes a command's help. It omits internal options, whose usage begins with internal.
func help(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintf(w, "%s\n\nusage: uringhttpd %s [options]\n\n", about(flags.Name()), flags.Name())
	shown := flag.NewFlagSet(flags.Name(), flag.ContinueOnError)
	shown.SetOutput(w)
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Usage, internal) {
			shown.Var(f.Value, f.Name, f.Usage)
			shown.Lookup(f.Name).DefValue = f.DefValue // not the current value
		}
	})
	shown.PrintDefaults()
}

const internal = "internal: "

// parse parses a command's options. If ok is false, the command exits with status.
func parse(flags *flag.FlagSet, args []string, stdout, stderr io.Writer) (status int, ok bool) {
	flags.SetOutput(stderr)
	flags.Usage = func() { help(flags) }
	for _, a := range args {
		if a == "-h" || a == "-help" || a == "--help" { // requested help goes to standard output
			flags.SetOutput(stdout)
		}
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK, false
	case err != nil:
		return exitUsage, false
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "uringhttpd %s: unexpected argument %q; options start with a dash\n", flags.Name(), flags.Arg(0))
		return exitUsage, false
	}
	return 0, true
}
