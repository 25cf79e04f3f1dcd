// Package statefile keeps small values as JSON files, in directories that may belong to another
// user: it does not trust the content, and follows no link.
package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSize is the maximum number of bytes read of a file.
const maxSize = 64 << 10

// ErrTorn is wrapped by the error of Load for a file that is not the JSON of the value, such as a
// file that a power cut has left incomplete.
var ErrTorn = errors.New("the content does not parse")

// Load reads the JSON file at path into v. The error wraps fs.ErrNotExist if there is no file, and
// ErrTorn if its first 64 KiB do not parse. A file that is not regular, or belongs neither to this
// user nor to root, is an error, too. After an error the content of v is undefined.
func Load(path string, v any) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("statefile: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("statefile: %w", os.NewSyscallError("fstat", err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("statefile: %s belongs to another user, or is not a regular file. Start and stop the service that created it, or remove it", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return fmt.Errorf("statefile: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("statefile: %s: %w: %w", path, ErrTorn, err)
	}
	return nil
}

// Store writes v as JSON to the file at path, whole or not at all, and creates the directory if
// necessary. Every user may read the file.
func Store(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("statefile: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("statefile: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("statefile: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("statefile: %w", err)
	}
	return nil
}
