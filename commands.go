package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"uringhttpd/doctor"
	"uringhttpd/keygen"
	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/offload/selftest"
	"uringhttpd/platform"
	"uringhttpd/service/server"
)

// newTester returns the Tester that tests and probes this machine for serve and doctor.
func newTester() *offload.Tester {
	return offload.NewTester(platform.NewRings(server.NewRing), Version)
}

// runSelftest encrypts with the kernel and verifies the result.
func runSelftest(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("selftest", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print one JSON object per line")
	where := flags.String("bench", "", internal+"measure AES-GCM in `PLACE`, \"kernel\" or \"user space\", and exit")
	driver := flags.String("driver", "", internal+"test the gcm(aes) driver `NAME` with known answers, and exit")
	cipher := flags.String("cipher", ktls.AESGCM.String(), internal+"the cipher that -bench measures: this or "+ktls.ChaCha20Poly1305.String())
	fixes := flags.String("fixes", "", internal+"the `CVES` that are fixed in this kernel, separated by commas")
	brief := flags.Bool("brief", false, internal+"shorten -bench and -driver")
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	var err error
	switch {
	case *driver != "":
		err = selftest.KnownAnswers(*driver, *brief, stdout)
	case *where == selftest.Kernel || *where == selftest.UserSpace:
		suite := ktls.AESGCM.Suite()
		if *cipher == ktls.ChaCha20Poly1305.String() {
			suite = ktls.ChaCha20Poly1305.Suite()
		}
		err = selftest.Measure(*where == selftest.Kernel, suite, *brief, stdout)
	case *where != "":
		fmt.Fprintf(stderr, "uringhttpd selftest: -bench %q is not valid; write \"kernel\" or \"user space\"\n", *where)
		return exitUsage
	default:
		write := selftest.WriteText(stdout)
		if *asJSON {
			write = selftest.WriteJSON(stdout)
		}
		return testCiphers(selftest.Tester{Untestable: func(ctx context.Context, suite uint16) string {
			return platform.Untestable(ctx, suite, strings.Split(*fixes, ","))
		}}, write, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return exitOK
}

// testCiphers tests all cipher suites. The status is exitFailed if a suite is wrong or must not
// be tested, and exitUsage if kernel TLS supports none.
func testCiphers(t selftest.Tester, write func(selftest.Result), stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), selftest.Time)
	defer cancel()
	status, right := exitOK, 0
	t.Run(ctx, func(r selftest.Result) {
		write(r)
		switch r.Outcome {
		case selftest.Right:
			right++
		case selftest.Wrong, selftest.Untested:
			status = exitFailed
		}
	})
	if right == 0 && status == exitOK {
		fmt.Fprintln(stderr, "uringhttpd selftest: kernel TLS supports no cipher here. Run `uringhttpd doctor` for the reason")
		status = exitUsage
	}
	return status
}

// runDoctor reports the machine's crypto and kernel TLS support, and the selection of serve.
func runDoctor(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	o := doctor.Options{}
	path := configFlag(flags)
	flags.BoolVar(&o.JSON, "json", false, "print JSON")
	flags.BoolVar(&o.Bench, "bench", false, "also measure encryption; with CAP_NET_ADMIN, kernel TLS with hardware and with software, which changes driver priorities for some seconds")
	flags.StringVar(&o.Driver, "driver", "", "also test the gcm(aes) driver `NAME` with known answers over AF_ALG, and measure it")
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	o.Config = *path
	return int(doctor.Run(newTester(), o, stdout, stderr))
}

// createKey generates a key and a certificate.
func createKey(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("keygen", flag.ContinueOnError)
	dir := flags.String("out", "", "write cert.pem and key.pem to the directory `DIR`; required")
	needed := flags.Bool("needed", false, "generate nothing; the exit status is 0 if a key or certificate is needed, else 1")
	var names []string
	flags.Func("name", "a host `NAME` or IP address of the board; may be repeated (default: the host name, also under .local, localhost, and this machine's addresses)", func(s string) error {
		names = append(names, s)
		return nil
	})
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return min(status, exitFailed)
	}
	if *dir == "" {
		fmt.Fprintln(stderr, "uringhttpd keygen: -out DIR is required: the directory for cert.pem and key.pem")
		return exitFailed
	}
	if *needed {
		if err := keygen.Needed(*dir); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
		return exitOK
	}
	r, err := keygen.Create(*dir, names, time.Now())
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	for _, note := range r.Notes {
		fmt.Fprintf(stderr, "note: %s\n", note)
	}
	for _, path := range r.Kept {
		fmt.Fprintf(stdout, "damaged file kept as: %s\n", path)
	}
	fmt.Fprintf(stdout, "certificate: %s\nkey: %s\nfingerprint (SHA-256): %s\n", r.Certificate, r.Key, r.Fingerprint)
	fmt.Fprintf(stdout, "curl --insecure --pinnedpubkey '%s' https://BOARD/\n", r.Pin)
	return exitOK
}

// version prints the version, commit, Go version and architecture of the program.
func version(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("version", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	v := struct {
		Version      string `json:"version"`
		Commit       string `json:"commit"`
		Go           string `json:"go"`
		Architecture string `json:"architecture"`
	}{Version: Version, Commit: "unknown", Go: runtime.Version(), Architecture: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				v.Commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				v.Commit += "+changes"
			}
		}
	}
	if *asJSON {
		json.NewEncoder(stdout).Encode(v)
		return exitOK
	}
	fmt.Fprintf(stdout, "uringhttpd %s, commit %s, %s, %s\n", v.Version, v.Commit, v.Go, v.Architecture)
	return exitOK
}
