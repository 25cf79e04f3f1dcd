// Command uringhttpd serves a folder of firmware and asset files over HTTPS,
// from kernel TLS and one io_uring.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"uringhttpd/config"
	"uringhttpd/keygen"
	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/platform"
	"uringhttpd/service"
	"uringhttpd/service/files"
	"uringhttpd/service/journal"
	"uringhttpd/service/server"
	"uringhttpd/systemd"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1  // serve: a failure that may mend itself; doctor: degraded
	exitUsage  = 2  // bad usage; check: wrong configuration; doctor: cannot serve. Go ends with it after a crash
	exitConfig = 78 // serve: a person must change the configuration; EX_CONFIG of sysexits.h
)

const usage = `usage: uringhttpd COMMAND [options]

  serve    serve the folder that the configuration names
  check    read the configuration and what it names; report every problem
  doctor   what this machine can do for HTTPS, and what serve would choose
  selftest have the kernel encrypt, and compare
  keygen   make a key and a self-signed certificate
  version  print version, commit, Go version and architecture

uringhttpd COMMAND -h lists a command's options.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	commands := map[string]func([]string, io.Writer, io.Writer) int{
		"serve": serve, "check": check, "doctor": doctor, "selftest": selftest, "keygen": createKey, "version": version,
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
	fmt.Fprintf(stderr, "uringhttpd: no command %q\n%s", args[0], usage)
	return exitUsage
}

// about is the first paragraph of each command's help.
func about(command string) string {
	return map[string]string{
		"serve": "Serves the directory that the configuration names, over HTTPS and HTTP, until SIGTERM or SIGINT.\n" +
			"The exit status is 0 after such a signal, 1 after a failure that may mend itself, and 78 if a person must change the configuration.",
		"check": "Reads the configuration and the files that it names, and reports each problem with its line. It serves nothing.\n" +
			"The exit status is 0 if there are only warnings, else 2.",
		"doctor": "Reports what this machine can do for HTTPS, and what serve would choose.\n" +
			"The exit status is 0 if all is ready, 1 if it works, but worse than it could, and 2 if it cannot serve.",
		"selftest": "Has the kernel encrypt with each cipher that kernel TLS takes, and compares with what is right.\n" +
			"The exit status is 0 if all are right, 1 if one is wrong, or its test could harm this kernel, and 2 if the kernel takes none.",
		"keygen": "Makes a private key and a self-signed certificate, and never overwrites one.\n" +
			"A file that an interrupted run has left empty or cut off is kept under another name, and made again.",
		"version": "Prints version, commit, Go version and architecture.",
	}[command]
}

// help writes a command's options, but for those that are not for people: their usage
// begins with internal.
func help(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintf(w, "%s\n\nusage: uringhttpd %s [options]\n\n", about(flags.Name()), flags.Name())
	shown := flag.NewFlagSet(flags.Name(), flag.ContinueOnError)
	shown.SetOutput(w)
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Usage, internal) {
			shown.Var(f.Value, f.Name, f.Usage)
			shown.Lookup(f.Name).DefValue = f.DefValue // not the value set by now
		}
	})
	shown.PrintDefaults()
}

const internal = "internal: "

// parse reads a command's options. When it returns false, the command ends with status.
func parse(flags *flag.FlagSet, args []string, stdout, stderr io.Writer) (status int, ok bool) {
	flags.SetOutput(stderr)
	flags.Usage = func() { help(flags) }
	for _, a := range args {
		if a == "-h" || a == "-help" || a == "--help" { // was asked for, so it is output
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
		fmt.Fprintf(stderr, "uringhttpd %s: unexpected argument %q; write options with a dash before them\n", flags.Name(), flags.Arg(0))
		return exitUsage, false
	}
	return 0, true
}

func configFlag(flags *flag.FlagSet) *string {
	return flags.String("config", config.DefaultPath, "read the configuration from `FILE`")
}

// load reads the configuration and opens what it names.
func load(path string) (*config.Config, *service.Opened, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, nil, err
	}
	opened, err := service.Open(cfg)
	return cfg, opened, err
}

// check reports problems of the configuration.
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
	restore := flags.Bool("restore", false, "instead, take back what a run that was killed has the kernel prefer for AES-GCM")
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	if *restore {
		if err := restorePreference(); err != nil {
			complain(stderr, err)
			return exitFailed
		}
		return exitOK
	}
	// First of all, so that no child has them.
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
	if err := serveConfig(cfg, opened, passed, stderr); err != nil {
		complain(stderr, err)
		return serveStatus(err)
	}
	return exitOK
}

// serveStatus returns the exit status of serve for err. The unit starts the service
// again unless the status is exitConfig, so that is for what a person must change.
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

// complain writes the service's last words, as errors if the journal reads them.
func complain(stderr io.Writer, err error) {
	prefix := ""
	if systemd.Journal() {
		prefix = systemd.LevelPrefix(slog.LevelError)
	}
	for line := range strings.Lines(err.Error() + "\n") {
		fmt.Fprint(stderr, prefix+line)
	}
}

const noReload = "reloading is not built yet; restart the service to take a new configuration"

func logWarnings(log *slog.Logger, warnings config.Problems) {
	for _, w := range warnings {
		log.Warn("configuration warning", "file", w.File, "line", w.Line, "key", w.Key, "problem", w.Wrong, "remedy", w.Right)
	}
}

func serveConfig(cfg *config.Config, opened *service.Opened, passed map[string][]*os.File, stderr io.Writer) error {
	// From here on a signal has its meaning for the service.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // whoever read the log is gone, the clients are not

	lines := journal.New(stderr)
	defer lines.Close()
	prefix := systemd.LevelPrefix
	if !systemd.Journal() {
		prefix = nil
	}
	log := lines.Logger(cfg.Log.Level, prefix)

	logWarnings(log, opened.Warnings)

	notifier, err := systemd.NewNotifier()
	if err != nil {
		log.Warn("systemd's watchdog is not served", "reason", err)
	}
	var preference *platform.Preference
	var choice service.Choice
	var listeners []*server.Listener
	prepare := func(ctx context.Context) error {
		preference = openPreference(cfg.Crypto.Prefer, log)
		// From here on nobody of us changes what the kernel picks.
		verdicts := prefer(ctx, cfg.Crypto.Prefer, preference, testCiphers(ctx), log)
		if err := ctx.Err(); err != nil {
			return err
		}
		if preference != nil {
			if err := preference.Share(); err != nil {
				return err
			}
		}
		report, err := investigate(ctx, verdicts)
		if err != nil {
			return err
		}
		for _, a := range report.AFALG {
			log.Info("asked a driver of gcm(aes) over AF_ALG", "answer", a.String())
		}
		if service.Undecided(cfg, report) {
			report.Speeds = speeds(ctx, speedsPath, report, log)
		}
		if choice, err = service.Choose(cfg, report); err != nil {
			return err
		}
		var warnings config.Problems
		listeners, warnings, err = service.OpenListeners(cfg, passed)
		logWarnings(log, warnings)
		return err
	}
	ended, err := newStarting(signals, notifier, log).run(prepare)
	if ended && preference != nil { // else the unit's ExecStopPost= takes back what was changed
		defer func() {
			if err := preference.Close(); err != nil {
				log.Warn("the kernel goes on to prefer another driver of gcm(aes)", "reason", err)
			}
		}()
	}
	if err != nil {
		if ended {
			for _, l := range listeners {
				l.Close()
			}
		}
		if errors.Is(err, errInterrupted) {
			log.Info("stopped during the start")
			return nil
		}
		return err
	}

	picks := platform.OpenPicks()
	defer picks.Close()
	notices := make(chan string, 4)
	srv, err := server.New(server.Options{
		Handler:    files.New(opened.Root, files.Options{Listing: cfg.Index == config.IndexHTML, Folder: opened.Folder, Log: log}),
		TLS:        opened.TLS,
		Offload:    choice.Offload,
		Require:    cfg.TLS.Kernel == config.KernelRequire,
		Prefer:     choice.Prefer,
		Encryptors: choice.By,
		TestCipher: testCipher,
		Picked:     picks.Driver,
		Examine:    examine,
		Refused:    choice.Refused,
		Notice: func(text string) {
			select {
			case notices <- text:
			default: // systemd has not taken the last one
			}
		},
		Connections:   cfg.Limits.Connections,
		HeaderTimeout: cfg.Limits.HeaderTimeout,
		IdleTimeout:   cfg.Limits.IdleTimeout,
		StallTimeout:  cfg.Limits.StallTimeout,
		Buffer:        cfg.Limits.Buffer,
		Memory:        platform.TCPMemory() / 2, // the rest is for what is in flight, and for others
		Log:           log,
		Access:        cfg.Log.Access,
	}, listeners)
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return err
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stopping := false
		for {
			select {
			case <-done:
				return
			case text := <-notices:
				if err := notifier.Status(text); err != nil {
					log.Warn("systemd was not told", "reason", err)
				}
			case s := <-signals:
				switch {
				case s == syscall.SIGHUP:
					log.Warn(noReload)
				case stopping:
					srv.Abort()
				default:
					stopping = true
					notifier.Stopping()
					srv.Shutdown()
				}
			}
		}
	}()
	err = srv.Run(func() {
		if err := confine(); err != nil {
			log.Warn("this process could still open AF_ALG, which it does not need any more", "reason", err)
		}
		log.Info(choice.Reason)
		if choice.Warning != "" {
			log.Warn(choice.Warning)
		}
		for _, l := range listeners {
			if l.Metrics {
				log.Info("listening for metrics", "address", l.Addr)
				continue
			}
			log.Info("listening", "address", l.Addr, "tls", l.TLS, "root", cfg.Root)
		}
		notifier.Ready()
		notifier.Status(choice.Reason)
	})
	close(done)
	<-stopped
	return err
}

// rings is what this process may do with io_uring. It is asked before the process confines
// itself, and remembers.
var rings = platform.NewRings(server.NewRing)

// probe asks what this machine can do, but for what a test has found wrong.
func probe(ctx context.Context, verdicts platform.Verdicts) (*platform.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return platform.Probe(ctx, rings, verdicts)
}

const (
	// selfTestTime is enough for a slow engine on a board that is booting.
	selfTestTime = 15 * time.Second
	// answerTime is that of the program that tests, its start and end included.
	answerTime = 20 * time.Second
	// driverChanges are how often a test begins again, since there is another driver.
	driverChanges = 3
	// selfTestConns are tested at a time with the first cipher, if there is an
	// asynchronous driver.
	selfTestConns = 4
)

// suites are those of TLS 1.3. The first two are computed by the same driver.
var suites = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

// What selftest says of a cipher suite, behind its name.
const (
	sayRight    = "right" // and the driver's name
	sayNotTaken = "not taken by the kernel"
	sayUntested = "not tested"
	sayWrong    = "wrong"
)

// untestable says why a cipher suite is not tested; "" if it is. A variable for tests.
var untestable = platform.Untestable

// testCiphers tests what the kernel encrypts. An engine may be dead since before this
// program started, and what waits for one waits for ever; or it may be wrong. So this
// comes first, in a process that can be left behind.
func testCiphers(ctx context.Context) platform.Verdicts {
	verdicts, err := askCiphers(ctx)
	if err != nil && platform.MayWait() { // nobody knows, and to try may be to wait for ever
		verdicts = platform.Verdicts{}
		for _, suite := range suites {
			verdicts[suite] = platform.Verdict{Err: fmt.Errorf("%w: %w", errUntested, err)}
		}
	}
	return verdicts
}

// askCiphers runs selftest in a process that can be left behind. The error says why
// not all is known.
func askCiphers(ctx context.Context) (platform.Verdicts, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	said, err := platform.Ask(ctx, "/proc/self/exe", "selftest")
	var answer *platform.AnswerError
	if err != nil && !errors.As(err, &answer) && !errors.Is(err, platform.ErrNoAnswer) {
		return platform.Verdicts{}, err
	}
	return readVerdicts(said, err)
}

// readVerdicts takes what selftest said, and how it ended.
func readVerdicts(said string, ended error) (platform.Verdicts, error) {
	heard := map[string]string{}
	for line := range strings.Lines(said) {
		name, says, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		heard[name] = says
	}
	verdicts := platform.Verdicts{}
	known := 0
	for _, suite := range suites {
		says, ok := heard[tls.CipherSuiteName(suite)]
		what, why, _ := strings.Cut(says, ": ")
		switch {
		case !ok && errors.Is(ended, platform.ErrNoAnswer):
			verdicts[suite] = platform.Verdict{Err: ended}
		case !ok:
			continue
		case what == sayRight:
			verdicts[suite] = platform.Verdict{Driver: why}
		case what == sayWrong:
			verdicts[suite] = platform.Verdict{Err: errors.New(why)}
		case what != sayNotTaken && what != sayUntested:
			continue
		}
		known++
	}
	if known < len(suites) {
		return verdicts, fmt.Errorf("selftest: %w: %q", cmp.Or(ended, errors.New("it did not say all")), said)
	}
	return verdicts, nil
}

// testCipher is askCiphers for some suites.
func testCipher(ctx context.Context, some []uint16) error {
	verdicts, err := askCiphers(ctx)
	return verdictOn(some, verdicts, err)
}

// examine tests all ciphers, and tells who computes them.
func examine(ctx context.Context) ([]offload.TestResult, error) {
	verdicts, err := askCiphers(ctx)
	if err != nil && len(verdicts) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, selfTestTime)
	defer cancel()
	report, perr := probe(ctx, verdicts)
	if perr != nil {
		return nil, errors.Join(err, perr)
	}
	return service.Verdicts(report), err
}

// verdictOn is what was wrong with one of some suites. That one of them was not tested,
// for which err may be the reason, is ErrInconclusive if none was wrong.
func verdictOn(some []uint16, verdicts platform.Verdicts, err error) error {
	var untested error
	for _, suite := range some {
		switch verdict, ok := verdicts[suite]; {
		case verdict.Err != nil:
			return verdict.Err
		case !ok:
			untested = fmt.Errorf("%w: %w", server.ErrInconclusive, cmp.Or(err, errUntested))
		}
	}
	return untested
}

// selftest has the kernel encrypt with each cipher that it takes. Its status is
// exitFailed if one is wrong or must not be tested, exitUsage if there is none.
func selftest(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("selftest", flag.ContinueOnError)
	where := flags.String("bench", "", internal+"instead, measure AES-GCM in `PLACE`, \"kernel\" or \"user space\", for doctor")
	driver := flags.String("driver", "", internal+"instead, have the driver `NAME` of gcm(aes) give known answers")
	cipher := flags.String("cipher", ktls.AESGCM.String(), internal+"what -bench measures, that or "+ktls.ChaCha20Poly1305.String())
	brief := flags.Bool("brief", false, internal+"take less time for -bench and -driver")
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	if *driver != "" {
		d := afalgTime
		if *brief {
			d = afalgStartTime
		}
		if err := knownAnswers(*driver, d, stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
		return exitOK
	}
	switch *where {
	case "":
	case "kernel", "user space":
		suite := uint16(benchSuite)
		if *cipher == ktls.ChaCha20Poly1305.String() {
			suite = tls.TLS_CHACHA20_POLY1305_SHA256
		}
		if err := measure(*where == "kernel", suite, *brief, stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
		return exitOK
	default:
		fmt.Fprintf(stderr, "uringhttpd selftest: -bench %q is not a place; write kernel, or user space\n", *where)
		return exitUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), selfTestTime)
	defer cancel()
	mayWait := platform.MayWait()
	type result struct {
		suite    uint16
		driver   string
		untested string // why
		err      error
	}
	picks := platform.OpenPicks()
	defer picks.Close()
	results := make(chan result, len(suites))
	test := func(suites ...uint16) {
		for _, s := range suites {
			if why := untestable(ctx, s); why != "" {
				results <- result{suite: s, untested: why}
				continue
			}
			connections := 1
			if mayWait && s == tls.TLS_AES_128_GCM_SHA256 {
				connections = selfTestConns
			}
			// Another driver may come meanwhile; one that is made of parts comes since it is used.
			r := result{suite: s, driver: picks.Driver(s).Driver}
			for range driverChanges {
				before := r.driver
				r.err = ktls.SelfTest(ctx, s, connections)
				if r.driver = picks.Driver(s).Driver; r.err != nil || r.driver == before {
					break
				}
			}
			results <- r
		}
	}
	go test(suites[:2]...)
	go test(suites[2:]...) // does not wait for a driver of the others that is dead
	status, tested := exitOK, 0
	for range suites {
		r := <-results
		name := tls.CipherSuiteName(r.suite)
		switch {
		case r.untested != "":
			fmt.Fprintf(stdout, "%s: %s: %s\n", name, sayUntested, r.untested)
			status = exitFailed
		case errors.Is(r.err, errors.ErrUnsupported):
			fmt.Fprintf(stdout, "%s: %s: %v\n", name, sayNotTaken, r.err)
		case r.err != nil:
			fmt.Fprintf(stdout, "%s: %s: %v\n", name, sayWrong, r.err)
			status = exitFailed
		default:
			fmt.Fprintf(stdout, "%s: %s: %s\n", name, sayRight, r.driver)
			tested++
		}
	}
	if tested == 0 && status == exitOK {
		fmt.Fprintln(stderr, "uringhttpd selftest: the kernel takes no cipher; `uringhttpd doctor` says why")
		status = exitUsage
	}
	return status
}

// doctorConfig reads the configuration for doctor. With an error, or if unread says why
// it could not be seen, cfg has the defaults: the machine can be looked at without it.
func doctorConfig(path string) (cfg *config.Config, unread string, err error) {
	cfg, err = config.Load(path)
	if err == nil {
		return cfg, "", nil
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		unread, err = err.Error(), nil
	case errors.Is(err, os.ErrNotExist) && path == config.DefaultPath:
		err = nil // not installed yet
	}
	cfg, defaultErr := config.Parse(config.Example(), path)
	return cfg, unread, cmp.Or(err, defaultErr)
}

// doctor reports what the machine can do.
func doctor(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	path := configFlag(flags)
	asJSON := flags.Bool("json", false, "print JSON")
	measured := flags.Bool("bench", false, "measure encryption, too; with CAP_NET_ADMIN kernel TLS with each kind of driver, which the system prefers meanwhile")
	driver := flags.String("driver", "", "ask the driver `NAME` of gcm(aes) for known answers, too, over AF_ALG, and measure it")
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return status
	}
	var b *benchmark
	if *measured {
		b = newBenchmark()
		defer b.close(stderr)
	}
	verdicts := testCiphers(context.Background())
	report, err := investigate(context.Background(), verdicts)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	machine, err := platform.ReadBoard(report.Kernel)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	cfg, unread, cfgErr := doctorConfig(*path)
	status, verdict := exitOK, ""
	if service.Undecided(cfg, report) { // as serve does, but that nothing is kept
		report.Speeds = speeds(context.Background(), "", report, slog.New(slog.DiscardHandler))
	}
	choice, err := service.Choose(cfg, report)
	switch verdict = choice.Reason; {
	case cfgErr != nil:
		fmt.Fprintln(stderr, cfgErr)
		status, verdict = exitUsage, "the configuration is wrong: "+strings.ReplaceAll(cfgErr.Error(), "\n", ". ")
	case err != nil:
		status, verdict = exitUsage, err.Error()
	case choice.Warning != "":
		status, verdict = exitFailed, verdict+"; "+choice.Warning
	case !report.KernelTLS.Usable:
		status = exitFailed
	}
	if text := notPreferred(cfg.Crypto.Prefer, report); text != "" && status != exitUsage {
		status, verdict = exitFailed, verdict+"; "+text
	}
	if unread != "" {
		verdict += ". This is for the default configuration: " + unread
	}
	var measurements []measurement
	if *measured {
		if measurements, err = b.run(report, verdicts); err != nil {
			fmt.Fprintln(stderr, err)
		}
	}
	var answer *platform.DriverAnswer
	if *driver != "" {
		answer = askNamed(*driver, report)
		if answer.Asked && !answer.Right && status != exitUsage {
			status, verdict = exitFailed, fmt.Sprintf("%s; %s is wrong", verdict, *driver)
		}
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		e.Encode(struct {
			Board platform.Board `json:"board"`
			*platform.Report
			Bench   []measurement          `json:"bench,omitempty"`
			Driver  *platform.DriverAnswer `json:"known_answers,omitempty"`
			Sources string                 `json:"sources"`
			Verdict string                 `json:"verdict"`
			Status  int                    `json:"status"`
		}{machine, report, measurements, answer, report.Sources(), verdict, status})
		return status
	}
	printBoard(stdout, machine)
	printReport(stdout, report)
	fmt.Fprint(stdout, benchText(measurements))
	if answer != nil {
		fmt.Fprintf(stdout, "known answers: %s\n", answer)
	}
	fmt.Fprintf(stdout, "serve: %s\n", verdict)
	return status
}

// printBoard prints what the machine is, and what became of its engines.
func printBoard(w io.Writer, b platform.Board) {
	name := b.Model
	for _, more := range []string{b.SoC.Name, prefixed("revision ", b.SoC.Revision)} {
		if more != "" {
			name += ", " + more
		}
	}
	fmt.Fprintf(w, "board: %s\n", cmp.Or(strings.TrimPrefix(name, ", "), "not known: there is no device tree"))
	if b.Note != "" {
		fmt.Fprintf(w, "engine: %s\n", b.Note)
	}
	for _, e := range b.Engines {
		state := "driver " + e.Driver
		if e.Driver == "" {
			state = fmt.Sprintf("not in use: %s; %s", e.Reason, e.Remedy)
		}
		if e.Era > 0 {
			state = fmt.Sprintf("era %d, %s", e.Era, state)
		}
		fmt.Fprintf(w, "%s: %s: %s\n", e.Kind, e.Node, state)
		if e.Limit != "" {
			fmt.Fprintf(w, "%s: %s\n", e.Kind, e.Limit)
		}
		if e.Driver == "" {
			continue
		}
		for _, j := range e.JobRings {
			state := "driver " + j.Driver
			if j.Driver == "" {
				state = "not in use: " + j.Reason
			}
			fmt.Fprintf(w, "%s: job ring %s: %s\n", e.Kind, path.Base(j.Node), state)
		}
	}
}

// prefixed is text behind prefix, unless it is empty.
func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func printReport(w io.Writer, r *platform.Report) {
	fmt.Fprintf(w, "kernel: Linux %s, %s\n", r.Kernel, r.Machine)
	for _, f := range []struct {
		name string
		platform.Feature
	}{{"io_uring", r.IOURing}, {"kernel TLS", r.KernelTLS}} {
		if f.Usable {
			fmt.Fprintf(w, "%s: yes\n", f.name)
		} else {
			fmt.Fprintf(w, "%s: no: %s; %s\n", f.name, f.Reason, f.Remedy)
		}
	}
	for _, c := range r.Ciphers {
		switch {
		case c.Verified:
			fmt.Fprintf(w, "kernel TLS, %s: yes, tested\n", c.Name)
		case c.Usable:
			fmt.Fprintf(w, "kernel TLS, %s: yes\n", c.Name)
		case r.KernelTLS.Usable: // else the reason stands above
			fmt.Fprintf(w, "kernel TLS, %s: no: %s; %s\n", c.Name, c.Reason, c.Remedy)
		}
	}
	for _, a := range slices.Concat(r.GCM, r.CTR, r.ChaCha20) {
		how := "synchronous"
		switch {
		case a.Waits():
			how = "asynchronous"
		case a.Inline:
			how = "synchronous in system calls"
		}
		if a.Hardware {
			how = "hardware, " + how
		}
		fmt.Fprintf(w, "%s: %s, priority %d, %s, module %s, self-test %s\n", a.Name, a.Driver, a.Priority, how, a.Module, a.SelfTest)
	}
	if !r.Netlink.Usable && len(r.GCM)+len(r.ChaCha20) > 0 {
		fmt.Fprintf(w, "hardware among them: not known: %s; %s\n", r.Netlink.Reason, r.Netlink.Remedy)
	}
	for _, a := range r.AFALG {
		fmt.Fprintf(w, "AF_ALG: %s\n", a.String())
	}
	for _, s := range r.Speeds {
		where := "TLS in user space"
		if s.Kernel {
			where = "kernel TLS"
		}
		fmt.Fprintf(w, "measured: %s, %s: %.1f MiB/s, %.2f s of processor time per GiB\n", where, s.Cipher, s.MiBPerSecond, s.SecondsPerGiB)
	}
	if r.AESInstructions {
		fmt.Fprintln(w, "AES instructions: yes")
	} else {
		fmt.Fprintln(w, "AES instructions: no")
	}
}

// createKey makes a key and a certificate.
func createKey(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("keygen", flag.ContinueOnError)
	dir := flags.String("out", "", "write cert.pem and key.pem to the directory `DIR`")
	needed := flags.Bool("needed", false, "make nothing; the exit status is 0 if a key or certificate would be made, else 1")
	var names []string
	flags.Func("name", "a host `NAME` or IP address of the board; may be repeated (default: the host name, also under .local, localhost, and this machine's addresses)", func(s string) error {
		names = append(names, s)
		return nil
	})
	if status, ok := parse(flags, args, stdout, stderr); !ok {
		return min(status, exitFailed)
	}
	if *dir == "" {
		fmt.Fprintln(stderr, "uringhttpd keygen: -out DIR is needed: where to write cert.pem and key.pem")
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

// version prints what was built.
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

// Version of the program; the Makefile and packagers may set it with -ldflags -X.
var Version = "0.1.0-dev"
