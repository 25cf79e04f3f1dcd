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

// maxSockets is the largest valid LISTEN_FDS; systemd passes at most 253 descriptors.
const maxSockets = 1024

// Sockets returns the sockets passed by systemd (socket activation, sd_listen_fds(3)), keyed
// by the FileDescriptorName= of their socket unit, in systemd's order; nil if there
// are none. The caller owns the files and closes them. Sockets sets close-on-exec and unsets
// the environment variables, so that no child uses the sockets. Therefore a program that
// re-executes itself must do so before it calls Sockets, and a program that starts children
// must call Sockets first. A second call returns nil. The error is that of a malformed
// LISTEN_FDS.
func Sockets() (map[string][]*os.File, error) {
	if n := os.Getenv("LISTEN_FDS"); n != "" {
		if count, err := strconv.Atoi(n); err != nil || count < 0 || count > maxSockets {
			return nil, fmt.Errorf("systemd: LISTEN_FDS is %q, not a number from 0 to %d", n, maxSockets)
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

// ErrNoCredentials is the error if CREDENTIALS_DIRECTORY is not set: systemd has not passed
// credentials to this process, for example because it was started from a shell.
var ErrNoCredentials = errors.New("systemd passed no credentials (CREDENTIALS_DIRECTORY is not set)")

// CredentialPath returns the path of the credential NAME for "credential:NAME", and any other
// s unchanged. Credentials are passed to the service by LoadCredential= and similar settings
// (systemd.exec(5)). The error contains the change to make in the unit or the configuration; it
// wraps [fs.ErrNotExist] if the unit passes no such credential, and [ErrNoCredentials] if it
// passes none at all.
func CredentialPath(s string) (string, error) {
	name, found := strings.CutPrefix(s, credentialPrefix)
	if !found {
		return s, nil
	}
	// The rules of credential_name_valid() in systemd: a plain file name.
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsFunc(name, notInFileName) {
		return "", fmt.Errorf("systemd: %q is not a valid credential name; write credential:NAME, where NAME is a plain file name", s)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("systemd: %s: %w; add LoadCredential=%s:/path/of/file to the unit", s, ErrNoCredentials, name)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("systemd: %s: the unit passes no credential of that name; add LoadCredential=%s:/path/of/file to it: %w", s, name, err)
	}
	return path, nil
}

func notInFileName(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }

// Journal reports whether standard error is connected to systemd's journal, which adds a
// timestamp to each line and understands [LevelPrefix]. It compares the device and inode of
// standard error with JOURNAL_STREAM (systemd.exec(5)); the presence of the variable is not
// sufficient, since children inherit it.
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

// LevelPrefix returns the prefix of a line on standard error that sets its priority in the
// journal (sd-daemon(3)): "<3>" for errors, "<4>" for warnings, "<6>" for information, "<7>"
// below.
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
