package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestNotifierSendsStates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))

	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := n.Watchdog(), 15*time.Second; got != want {
		t.Errorf("Watchdog() = %v, want %v", got, want)
	}
	for _, tt := range []struct {
		name string
		call func() error
		want string
	}{
		{"ready", n.Ready, `^READY=1$`},
		{"reloading", n.Reloading, `^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*$`},
		{"status", func() error { return n.Status("two\nlines") }, `^STATUS=two lines$`},
		{"extend", func() error { return n.Extend(90 * time.Second) }, `^EXTEND_TIMEOUT_USEC=90000000$`},
		{"alive", n.Alive, `^WATCHDOG=1$`},
		{"stopping", n.Stopping, `^STOPPING=1$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.call(); err != nil {
				t.Fatal(err)
			}
			if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 1024)
			size, err := socket.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(buf[:size]); !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("sent %q, want %s", got, tt.want)
			}
		})
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err == nil {
		t.Error("Ready() without a listener: no error")
	}
}

func TestNotifierDoesNothingWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "")
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Notifier{n, nil} {
		if n.Watchdog() != 0 {
			t.Errorf("Watchdog() = %v, want 0", n.Watchdog())
		}
		if err := errors.Join(n.Ready(), n.Reloading(), n.Status("x"), n.Extend(time.Second), n.Alive(), n.Stopping()); err != nil {
			t.Error(err)
		}
	}
}

func TestNotifierWorksWithoutWatchdog(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nonexistent")
	t.Setenv("WATCHDOG_USEC", "soon")
	n, err := NewNotifier()
	if err == nil || !strings.Contains(err.Error(), "WATCHDOG_USEC") {
		t.Errorf("error %v, want one about WATCHDOG_USEC", err)
	}
	if n == nil || n.Watchdog() != 0 {
		t.Errorf("notifier %+v, want one without a watchdog", n)
	}
}
