package systemd

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier sends the state of the service to systemd (sd_notify(3)). Its methods
// do nothing if NOTIFY_SOCKET is not set, which means that systemd expects no messages;
// methods of a nil *Notifier do nothing either. They may be called from any goroutine.
// An error means that a message could not be sent; the service can continue.
type Notifier struct {
	enabled  bool
	watchdog time.Duration
}

// NewNotifier returns a Notifier according to the environment variables. NOTIFY_SOCKET stays
// set, since each message needs it. The error is that of a malformed WATCHDOG_USEC or
// WATCHDOG_PID; the Notifier then works without a watchdog.
func NewNotifier() (*Notifier, error) {
	n := &Notifier{enabled: os.Getenv("NOTIFY_SOCKET") != ""}
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return n, fmt.Errorf("systemd: %w", err)
	}
	if n.enabled {
		n.watchdog = limit / 2
	}
	return n, nil
}

// Ready reports that every part of the service works (READY=1), after the start or after a
// reload.
func (n *Notifier) Ready() error { return n.send(daemon.SdNotifyReady) }

// Stopping reports that the service has begun to shut down (STOPPING=1).
func (n *Notifier) Stopping() error { return n.send(daemon.SdNotifyStopping) }

// Reloading reports that the service has begun to reload its configuration (RELOADING=1).
// Ready must follow, whether the new configuration is applied or the old one is kept.
func (n *Notifier) Reloading() error {
	// For Type=notify-reload systemd compares this time with the time of its signal.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("systemd: %w", os.NewSyscallError("clock_gettime", err))
	}
	return n.send(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
}

// Extend asks systemd to allow at least d from now on for the start or the stop, even if the
// unit's timeout is shorter.
func (n *Notifier) Extend(d time.Duration) error {
	return n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// Status sets the status line that systemctl status shows.
func (n *Notifier) Status(text string) error {
	return n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watchdog returns the interval at which to call Alive, half the unit's WatchdogSec=; 0 if
// the unit has no watchdog.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Alive reports that the service still works (WATCHDOG=1); see Watchdog.
func (n *Notifier) Alive() error { return n.send(daemon.SdNotifyWatchdog) }

func (n *Notifier) send(state string) error {
	if n == nil || !n.enabled {
		return nil
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("systemd: notify: %w", err)
	}
	return nil
}
