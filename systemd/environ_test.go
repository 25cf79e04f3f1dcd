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
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSocketsAreTakenOnce runs itself as a child process, as systemd starts a service: with sockets
// from descriptor 3 on, and with LISTEN_PID set to the child's process ID.
func TestSocketsAreTakenOnce(t *testing.T) {
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
	// exec keeps the process ID of the shell, so $$ is that of the child.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestSocketsAreTakenOnce$' -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "SOCKETS_CHILD=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=https:http:https")
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

// socketsChild is the child process of TestSocketsAreTakenOnce.
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
	// A child process inherits neither the sockets nor the variables. It has four descriptors:
	// the three standard ones, and the directory that ls reads.
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

func TestSocketsIgnoreAnotherProcess(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	if got, err := Sockets(); got != nil || err != nil {
		t.Errorf("got %v, %v, want nothing", got, err)
	}
}

func TestSocketsRejectMalformedCount(t *testing.T) {
	for _, n := range []string{"-1", "many", "1000000000"} {
		t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		t.Setenv("LISTEN_FDS", n)
		if got, err := Sockets(); got != nil || err == nil {
			t.Errorf("LISTEN_FDS=%s: got %v, %v, want an error", n, got, err)
		}
	}
}

func TestCredentialPathNamesTheRemedy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir, in, want string
		err                 string // part of the error
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

func TestJournalComparesTheStream(t *testing.T) {
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
		{"malformed", "x", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", tt.stream)
			if got := journal(w); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLevelPrefixMatchesSeverity(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelError + 4: "<3>", slog.LevelError: "<3>", slog.LevelWarn: "<4>",
		slog.LevelInfo + 1: "<6>", slog.LevelInfo: "<6>", slog.LevelDebug: "<7>",
	} {
		if got := LevelPrefix(level); got != want {
			t.Errorf("%v: %s, want %s", level, got, want)
		}
	}
}
