package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"uringhttpd/systemd"
)

// starting supervises the start, up to READY=1. The start tests the crypto drivers, and some
// of them answer late or never.
type starting struct {
	signals  <-chan os.Signal
	notifier *systemd.Notifier
	log      *slog.Logger
	every    time.Duration // interval between EXTEND_TIMEOUT_USEC= messages to systemd
	limit    time.Duration // the start fails after this time
	grace    time.Duration // time for prepare to return after a signal
}

func newStarting(signals <-chan os.Signal, notifier *systemd.Notifier, log *slog.Logger) *starting {
	// limit is above the sum of the time limits of all steps.
	return &starting{signals, notifier, log, 5 * time.Second, 10 * time.Minute, 2 * time.Second}
}

var (
	// errInterrupted is the error for SIGTERM or SIGINT received during the start.
	errInterrupted = errors.New("interrupted")
	errLateStart   = errors.New("the tests of the crypto drivers did not end within 10 minutes. Run `uringhttpd doctor` to find the driver that does not answer")
)

// run runs prepare, and meanwhile extends TimeoutStartSec= of the unit. A signal to stop
// cancels prepare's context, and the error is errInterrupted. After the limit the error is
// errLateStart. If ended is false, prepare is still running: it waits for the kernel, and only
// the exit of this process ends it.
func (s *starting) run(prepare func(ctx context.Context) error) (ended bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- prepare(ctx) }()
	limit := time.NewTimer(s.limit)
	defer limit.Stop()
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	s.extend()
	for {
		select {
		case err := <-done:
			return true, err
		case <-tick.C:
			s.extend()
		case <-limit.C:
			return false, errLateStart
		case signal := <-s.signals:
			if signal == syscall.SIGHUP {
				s.log.Warn(noReload)
				continue
			}
			s.notifier.Stopping()
			cancel()
			select {
			case <-done:
				return true, errInterrupted
			case <-time.After(s.grace):
				return false, errInterrupted
			}
		}
	}
}

// extend asks systemd for at least as much more time as the unit's default timeout.
func (s *starting) extend() {
	if err := s.notifier.Extend(startExtension); err != nil {
		s.log.Debug("could not extend the start timeout of the unit", "reason", err)
	}
}

// startExtension is well above the time between two messages, even on a busy board.
const startExtension = 90 * time.Second
