package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// maxSockets bounds LISTEN_FDS; systemd itself passes at most 253.
const maxSockets = 1024

// Sockets returns the sockets that systemd handed over, by the
// FileDescriptorName= of their socket unit, in systemd's order; nil if there
// are none. The caller owns the files and closes them. They are closed on exec,
// and the variables that announced them are unset, so no child takes them for
// its own: a program that means to re-execute itself does so before it asks, and
// one that starts children asks first of all.
// A second call returns nil. sd_listen_fds(3).
func Sockets() (map[string][]*os.File, error) {
	if n := os.Getenv("LISTEN_FDS"); n != "" {
		if count, err := strconv.Atoi(n); err != nil || count < 0 || count > maxSockets {
			return nil, fmt.Errorf("systemd: LISTEN_FDS is %q, want a number from 0 to %d", n, maxSockets)
		}
	}
	var sockets map[string][]*os.File
	for _, f := range activation.Files(true) {
		if sockets == nil {
			sockets = make(map[string][]*os.File)
		}
		sockets[f.Name()] = append(sockets[f.Name()], f)
	}
	return sockets, nil
}

// credentialPrefix marks a configured path as the name of a credential.
const credentialPrefix = "credential:"

// ErrNoCredentials says that CREDENTIALS_DIRECTORY is not set: systemd gives this
// process no credentials, as it gives none to a shell.
var ErrNoCredentials = errors.New("systemd gave no credentials (CREDENTIALS_DIRECTORY is not set)")

// CredentialPath turns "credential:NAME" into the path of the credential NAME
// that LoadCredential= or its kin gave to the service, and returns anything else
// as it is. The error says what to change in the unit or the configuration; it
// wraps [fs.ErrNotExist] if the unit gives no such credential, and is
// [ErrNoCredentials] if there are none at all.
func CredentialPath(s string) (string, error) {
	name, found := strings.CutPrefix(s, credentialPrefix)
	if !found {
		return s, nil
	}
	// The rules of credential_name_valid() in systemd: a file name.
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsFunc(name, notInFileName) {
		return "", fmt.Errorf("systemd: %q is no credential's name; want credential:NAME, where NAME is a plain file name", s)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("systemd: %s: %w; add LoadCredential=%s:/path/of/file to the unit", s, ErrNoCredentials, name)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("systemd: %s: the unit gives no credential of that name; add LoadCredential=%s:/path/of/file to it: %w", s, name, err)
	}
	return path, nil
}

func notInFileName(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }

// Journal tells whether standard error goes to systemd's journal, which stamps
// the time of each line itself and understands [LevelPrefix]. It is so if
// JOURNAL_STREAM names the device and inode of standard error (systemd.exec(5));
// the variable alone proves nothing, since children inherit it.
func Journal() bool { return journal(os.Stderr) }

func journal(f *os.File) bool {
	want := os.Getenv("JOURNAL_STREAM")
	if want == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && want == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// LevelPrefix returns what, at the start of a line on standard error, tells the
// journal its priority (sd-daemon(3)): "<3>" for errors, "<4>" for warnings,
// "<6>" for information, "<7>" below.
func LevelPrefix(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
