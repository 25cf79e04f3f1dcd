package platform

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The state files here are in directories that may belong to another user, so their content is
// not trusted.

// maxNote is the maximum number of bytes read of a state file.
const maxNote = 64 << 10

// ReadNote reads a state file of at most 64 KiB. A file that is not regular, or belongs neither to
// this user nor to root, is an error.
func ReadNote(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("platform: %w", os.NewSyscallError("fstat", err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("platform: %s is another user's: let the service that left it start and stop, or remove it", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	return data, nil
}

// WriteNote writes a state file atomically: whole or not at all. Everybody may read the file.
func WriteNote(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("platform: %w", err)
	}
	return nil
}
