package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNotifier(t *testing.T) {
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

func TestNotifierWithoutSystemd(t *testing.T) {
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

func TestNotifierBadWatchdog(t *testing.T) {
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

// TestSockets runs itself as the child that systemd would start: the sockets
// stand at descriptors 3 and up, and LISTEN_PID is the child's own.
func TestSockets(t *testing.T) {
	if os.Getenv("SOCKETS_CHILD") != "" {
		socketsChild(t)
		return
	}
	var files []*os.File
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	// The shell's exec keeps its process id, so $$ is the child's.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestSockets$' -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "SOCKETS_CHILD=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=https:http:https")
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

func socketsChild(t *testing.T) {
	sockets, err := Sockets()
	if err != nil {
		t.Fatal(err)
	}
	if len(sockets["https"]) != 2 || len(sockets["http"]) != 1 || len(sockets) != 2 {
		t.Fatalf("sockets %v, want two https and one http", sockets)
	}
	for name, files := range sockets {
		for _, f := range files {
			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			if err != nil {
				t.Fatal(err)
			}
			if flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: a child would inherit the socket", name)
			}
			l, err := net.FileListener(f)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			l.Close()
		}
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if v, set := os.LookupEnv(name); set {
			t.Errorf("%s=%s is still set", name, v)
		}
	}
	// A child has neither the sockets nor the variables that announce them. Its own
	// descriptors are the three standard ones and the directory that ls reads.
	out, err := exec.Command("/bin/sh", "-c", `ls /proc/self/fd; env`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(out), "\n4\n") > 0 || strings.Contains(string(out), "LISTEN_") {
		t.Errorf("a child has\n%s", out)
	}
	if again, err := Sockets(); again != nil || err != nil {
		t.Errorf("second call: %v, %v, want nothing", again, err)
	}
}

func TestSocketsMeantForAnother(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	if got, err := Sockets(); got != nil || err != nil {
		t.Errorf("got %v, %v, want nothing", got, err)
	}
}

func TestSocketsMalformed(t *testing.T) {
	for _, n := range []string{"-1", "many", "1000000000"} {
		t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		t.Setenv("LISTEN_FDS", n)
		if got, err := Sockets(); got != nil || err == nil {
			t.Errorf("LISTEN_FDS=%s: got %v, %v, want an error", n, got, err)
		}
	}
}

func TestCredentialPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir, in, want string
		err                 string // part of it
	}{
		{"plain path", "", "/etc/uringhttpd/key.pem", "/etc/uringhttpd/key.pem", ""},
		{"relative path", dir, "key.pem", "key.pem", ""},
		{"credential", dir, "credential:key", filepath.Join(dir, "key"), ""},
		{"no systemd", "", "credential:key", "", "LoadCredential=key:"},
		{"no such credential", dir, "credential:cert", "", "LoadCredential=cert:"},
		{"empty name", dir, "credential:", "", "plain file name"},
		{"parent", dir, "credential:..", "", "plain file name"},
		{"slash", dir, "credential:../key", "", "plain file name"},
		{"line break", dir, "credential:a\nb", "", "plain file name"},
		{"long", dir, "credential:" + strings.Repeat("a", 256), "", "plain file name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", tt.dir)
			got, err := CredentialPath(tt.in)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if _, err := CredentialPath("credential:cert"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

func TestJournal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	info, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	for _, tt := range []struct {
		name, stream string
		want         bool
	}{
		{"not under systemd", "", false},
		{"the journal", fmt.Sprintf("%d:%d", st.Dev, st.Ino), true},
		{"another stream, inherited", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1), false},
		{"nonsense", "x", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", tt.stream)
			if got := journal(w); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLevelPrefix(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelError + 4: "<3>", slog.LevelError: "<3>", slog.LevelWarn: "<4>",
		slog.LevelInfo + 1: "<6>", slog.LevelInfo: "<6>", slog.LevelDebug: "<7>",
	} {
		if got := LevelPrefix(level); got != want {
			t.Errorf("%v: %s, want %s", level, got, want)
		}
	}
}
