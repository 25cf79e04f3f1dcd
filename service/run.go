package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"uringhttpd/config"
	"uringhttpd/offload"
	"uringhttpd/offload/priority"
	"uringhttpd/platform"
	"uringhttpd/platform/cryptoapi"
	"uringhttpd/service/files"
	"uringhttpd/service/journal"
	"uringhttpd/service/server"
	"uringhttpd/systemd"
)

// A Daemon is the service with one configuration. There is at most one in a process.
type Daemon struct {
	Config *config.Config
	Opened *Opened               // the files of Config; the caller closes them after Run
	Passed map[string][]*os.File // sockets passed by systemd, by name; Run closes them
	Tester *offload.Tester       // tests the crypto drivers; Run sets its Fixes
	Log    io.Writer             // receives the log; a slow reader does not block the service

	log      *slog.Logger
	signals  chan os.Signal
	notifier *systemd.Notifier
}

// A decision is the result of the start: how to serve, and the objects opened for that.
type decision struct {
	preference *priority.Lock // nil if driver priorities cannot be changed here
	choice     offload.Choice
	listeners  []*server.Listener
}

// Run serves until SIGTERM or SIGINT: the first signal lets transfers end, the second one resets
// them. It handles the signals of the process, installs a seccomp filter that stays, and may be
// called once. It returns nil after an orderly end, also during the start. An error is of type
// config.Problems if an address cannot be bound.
func (d *Daemon) Run() error {
	// The first step: from here on a signal does not kill the process.
	d.signals = make(chan os.Signal, 4)
	signal.Notify(d.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(d.signals)
	signal.Ignore(syscall.SIGPIPE) // the reader of the log may end before the service

	lines := journal.New(d.Log)
	defer lines.Close()
	prefix := systemd.LevelPrefix
	if !systemd.Journal() {
		prefix = nil
	}
	d.log = lines.Logger(d.Config.Log.Level, prefix)
	d.logWarnings(d.Opened.Warnings)

	d.Tester.Fixes = d.Config.Crypto.KernelFixes

	var err error
	if d.notifier, err = systemd.NewNotifier(); err != nil {
		d.log.Warn("systemd's watchdog is disabled: invalid environment variable", "reason", err)
	}
	var found decision
	ended, err := newStarting(d.signals, d.notifier, d.log).run(func(ctx context.Context) (err error) {
		found, err = d.prepare(ctx)
		return err
	})
	if ended && found.preference != nil { // else ExecStopPost= of the unit restores the priorities
		defer func() {
			if err := found.preference.Release(); err != nil {
				d.log.Warn("could not restore the priority of the driver of gcm(aes)", "reason", err)
			}
		}()
	}
	if err == nil {
		return d.serve(&found)
	}
	if ended {
		closeAll(found.listeners)
	}
	if errors.Is(err, errInterrupted) {
		d.log.Info("stopped during the start")
		return nil
	}
	return err
}

// prepare decides how to serve, and opens the listeners. After an error, too, the decision holds
// the objects that were opened.
func (d *Daemon) prepare(ctx context.Context) (found decision, err error) {
	cfg, t := d.Config, d.Tester
	found.preference = offload.OpenPreference(cfg.Crypto.Prefer, d.log)
	// The preference's lock keeps other processes of this program from changing priorities now.
	verdicts := t.Prefer(ctx, cfg.Crypto.Prefer, found.preference, t.Verdicts(ctx), d.log)
	if err := ctx.Err(); err != nil {
		return found, err
	}
	if found.preference != nil {
		if err := found.preference.Downgrade(); err != nil {
			return found, err
		}
	}
	report, err := t.Investigate(ctx, verdicts)
	if err != nil {
		return found, err
	}
	for _, a := range report.AFALG {
		d.log.Info("tested a gcm(aes) driver over AF_ALG", "answer", a.String())
	}
	if offload.NeedsMeasurement(cfg, report) {
		report.Speeds = t.Speeds(ctx, true, report, d.log)
	}
	if found.choice, err = offload.Choose(cfg, report); err != nil {
		return found, err
	}
	var warnings config.Problems
	found.listeners, warnings, err = openListeners(cfg, d.Passed)
	d.logWarnings(warnings)
	return found, err
}

// serve runs a server until a signal ends it.
func (d *Daemon) serve(found *decision) error {
	watcher := cryptoapi.OpenWatcher()
	defer watcher.Close()
	notices := make(chan string, 4)
	srv, err := d.newServer(found, watcher, notices)
	if err != nil {
		closeAll(found.listeners)
		return err
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		d.control(srv, notices, done)
	}()
	err = srv.Run(func() { d.ready(found) })
	close(done)
	<-stopped
	return err
}

func (d *Daemon) newServer(found *decision, watcher *cryptoapi.Watcher, notices chan<- string) (*server.Server, error) {
	cfg := d.Config
	served := files.Options{Listing: cfg.Index == config.IndexHTML, Directory: d.Opened.Directory, Log: d.log}
	return server.New(server.Options{
		Handler:    files.New(d.Opened.Root, served),
		Cache:      d.newCache(served),
		TLS:        d.Opened.TLS,
		Offload:    found.choice.Offload,
		Require:    cfg.TLS.Kernel == config.KernelRequire,
		Prefer:     found.choice.Prefer,
		Drivers:    found.choice.Drivers,
		TestCipher: d.Tester.Test,
		Picked:     watcher.Selected,
		Examine:    d.Tester.TestDrivers,
		Refused:    found.choice.Refused,
		Notice: func(text string) {
			select {
			case notices <- text:
			default: // systemd has not received the last one yet
			}
		},
		Limits: cfg.Limits,
		Memory: platform.TCPMemory() / 2, // the rest is for data in flight and for other programs
		Log:    d.log,
		Access: cfg.Log.Access,
	}, found.listeners)
}

// ready confines the process, logs the decision of the start, and sends READY=1.
func (d *Daemon) ready(found *decision) {
	if err := confine(); err != nil {
		d.log.Warn("could not install the seccomp filter; the service keeps access to AF_ALG and io_uring_setup", "reason", err)
	}
	found.choice.Log(d.log)
	for _, l := range found.listeners {
		if l.Metrics {
			d.log.Info("listening for metrics", "address", l.Addr)
			continue
		}
		d.log.Info("listening", "address", l.Addr, "tls", l.TLS, "root", d.Config.Root)
	}
	d.notifier.Ready()
	d.notifier.Status(found.choice.String())
}

// control hands signals to the server, and its notices to systemd, until done is closed. The first
// SIGTERM or SIGINT lets transfers end, the second one resets them.
func (d *Daemon) control(srv *server.Server, notices <-chan string, done <-chan struct{}) {
	stopping := false
	for {
		select {
		case <-done:
			return
		case text := <-notices:
			if err := d.notifier.Status(text); err != nil {
				d.log.Warn("could not send the status to systemd", "reason", err)
			}
		case s := <-d.signals:
			switch {
			case s == syscall.SIGHUP:
				d.log.Warn(noReload)
			case stopping:
				srv.Abort()
			default:
				stopping = true
				d.notifier.Stopping()
				srv.Shutdown()
			}
		}
	}
}

const noReload = "reloading is not implemented; restart the service to apply a new configuration"

func (d *Daemon) logWarnings(warnings config.Problems) {
	for _, w := range warnings {
		d.log.Warn("configuration warning", "file", w.File, "line", w.Line, "key", w.Key, "problem", w.Wrong, "remedy", w.Right)
	}
}

func closeAll(listeners []*server.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
