package systemd

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier tells systemd how the service is doing (sd_notify(3)). Its methods
// do nothing if systemd did not ask, which is where NOTIFY_SOCKET is not set;
// a nil *Notifier does nothing either. They may be called from any goroutine.
// An error says that systemd could not be told; the service can go on.
type Notifier struct {
	enabled  bool
	watchdog time.Duration
}

// NewNotifier reads what systemd asked for. NOTIFY_SOCKET stays set, as each
// message needs it. An error is that of a malformed WATCHDOG_USEC or
// WATCHDOG_PID; the Notifier works then, without a watchdog.
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

// Ready says that every part of the service works, after the start or after a
// reload.
func (n *Notifier) Ready() error { return n.send(daemon.SdNotifyReady) }

// Stopping says that the service has begun to shut down.
func (n *Notifier) Stopping() error { return n.send(daemon.SdNotifyStopping) }

// Reloading says that the service has begun to take a new configuration; Ready
// must follow, whether it took it or kept the old one.
func (n *Notifier) Reloading() error {
	// Type=notify-reload compares the time with that of its own signal.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("systemd: %w", os.NewSyscallError("clock_gettime", err))
	}
	return n.send(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
}

// Extend says that the start or the stop takes at least d from now on, even if the unit's
// timeout is shorter.
func (n *Notifier) Extend(d time.Duration) error {
	return n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// Status sets the line that systemctl status shows.
func (n *Notifier) Status(text string) error {
	return n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watchdog returns how often to call Alive, half the unit's WatchdogSec=; 0 if
// systemd does not watch.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Alive says that the service still works; see Watchdog.
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
