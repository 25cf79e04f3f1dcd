package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"uringhttpd/systemd"
)

// starting is the time before READY=1. Crypto drivers are tested then, and some answer
// late or never.
type starting struct {
	signals  <-chan os.Signal
	notifier *systemd.Notifier
	log      *slog.Logger
	every    time.Duration // systemd is told that often
	limit    time.Duration // the start has failed after that
	grace    time.Duration // for the end of what a signal interrupts
}

func newStarting(signals <-chan os.Signal, notifier *systemd.Notifier, log *slog.Logger) *starting {
	// limit is above the sum of the bounds of each step.
	return &starting{signals, notifier, log, 5 * time.Second, 5 * time.Minute, 2 * time.Second}
}

var (
	// errInterrupted says that SIGTERM or SIGINT came during the start.
	errInterrupted = errors.New("interrupted")
	errLateStart   = errors.New("the crypto drivers have not been tested in time; `uringhttpd doctor` says more")
)

// run runs prepare, and meanwhile extends TimeoutStartSec= of the unit. A signal to stop
// cancels prepare's context, and is errInterrupted. If ended is false, prepare goes on: it
// waits for the kernel, and only the end of this process can leave it behind.
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

// extend gives the start as long again as the unit's usual timeout allows for, at least.
func (s *starting) extend() {
	if err := s.notifier.Extend(startExtension); err != nil {
		s.log.Debug("systemd was not told that the start takes longer", "reason", fmt.Sprint(err))
	}
}

// startExtension is well above the time between two messages, on a board that is busy.
const startExtension = 90 * time.Second
