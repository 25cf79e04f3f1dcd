package keygen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// file is a file to write.
type file struct {
	path    string
	mode    os.FileMode
	content []byte
}

// temporaryPrefix starts the names of files that are being written. The next run removes
// such files after an interrupted run.
const temporaryPrefix = ".uringhttpd-keygen-"

// directory is the directory that holds both files. Its methods change it one step at
// a time, so that the next run can complete a run that was interrupted between any two steps:
//
//   - a file is written and synced under a temporary name;
//   - damaged files are moved aside, the certificate first, since a
//     certificate without a key is not known to be worthless;
//   - the key is renamed before the certificate, since a certificate can be
//     made again for an existing key.
//
// The directory is synced after each change of a name, so that the changes reach the disk in
// the same order.
type directory struct {
	path string
	made bool
	lock *os.File
	// before is called before each step, with the content of a write; it may be nil.
	before func(step, path string, content []byte)
}

func (d *directory) step(name, path string, content []byte) {
	if d.before != nil {
		d.before(name, path, content)
	}
}

// open makes the directory if its parent exists, and locks it against other runs.
func (d *directory) open() error {
	d.step("mkdir", d.path, nil)
	switch err := os.Mkdir(d.path, 0o755); {
	case err == nil:
		d.made = true
	case errors.Is(err, fs.ErrExist):
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; create the directory %s first", err, filepath.Dir(d.path))
	default:
		return advise(err)
	}
	lock, err := os.OpenFile(d.path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return advise(err)
	}
	d.lock = lock
	switch err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("%s: another keygen run is writing there; try again when it has ended", d.path)
	default: // without locks, RENAME_NOREPLACE still prevents overwriting of files
		return nil
	}
}

// close unlocks the directory; after an error it removes the directory if open made it.
func (d *directory) close(err error) {
	if d.lock != nil {
		d.lock.Close()
	}
	if err != nil && d.made {
		os.Remove(d.path)
	}
}

// clean removes the temporary files of an interrupted run.
func (d *directory) clean() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return advise(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) && e.Type().IsRegular() {
			path := filepath.Join(d.path, e.Name())
			d.step("remove", path, nil)
			if err := os.Remove(path); err != nil {
				return advise(err)
			}
		}
	}
	return nil
}

// write writes f under a temporary name and returns that name. After an error no file is left.
func (d *directory) write(f file) (string, error) {
	path := filepath.Join(d.path, temporaryPrefix+filepath.Base(f.path))
	d.step("create", path, nil)
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", advise(err)
	}
	d.step("write", path, f.content)
	_, err = w.Write(f.content)
	if err == nil {
		// Independent of the umask: the service must be able to read the certificate.
		d.step("chmod", path, nil)
		err = w.Chmod(f.mode)
	}
	if err == nil {
		d.step("fsync", path, nil)
		err = w.Sync()
	}
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(path)
		return "", advise(err)
	}
	return path, nil
}

// move renames a file in the directory and syncs the directory. It never replaces another
// file.
func (d *directory) move(from, to string) error {
	d.step("rename", to, nil)
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // no RENAME_NOREPLACE; link(2) does not replace either
		if err = unix.Link(from, to); err == nil {
			err = unix.Unlink(from)
		}
	}
	if err != nil {
		return advise(&os.LinkError{Op: "rename", Old: from, New: to, Err: err})
	}
	return d.sync()
}

// aside renames the damaged file at path to an unused name and returns that name.
func (d *directory) aside(path string) (string, error) {
	for n := 1; ; n++ {
		kept := fmt.Sprintf("%s.broken-%d", path, n)
		err := d.move(path, kept)
		if !errors.Is(err, fs.ErrExist) {
			return kept, err
		}
	}
}

// sync syncs the directory and, if open made it, its parent.
func (d *directory) sync() error {
	paths := []string{d.path}
	if d.made {
		paths = append(paths, filepath.Dir(filepath.Clean(d.path)))
	}
	d.step("fsync", d.path, nil)
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return advise(err)
		}
		err = f.Sync()
		f.Close()
		// Some file systems do not support fsync(2) on a directory (EINVAL).
		if err != nil && !errors.Is(err, syscall.EINVAL) {
			return advise(err)
		}
	}
	return nil
}

// replace writes files, moves the damaged files aside in order, and then renames files to
// their final names in order. It returns the new names of the damaged files. After an error
// none of files is left.
func (d *directory) replace(damaged []string, files []file) (kept []string, err error) {
	var written []string
	fail := func(err error) ([]string, error) {
		for _, path := range written {
			os.Remove(path)
		}
		return kept, err
	}
	for _, f := range files {
		path, err := d.write(f)
		if err != nil {
			return fail(err)
		}
		written = append(written, path)
	}
	for _, path := range damaged {
		name, err := d.aside(path)
		if err != nil {
			return fail(err)
		}
		kept = append(kept, name)
	}
	for i, f := range files {
		if err := d.move(written[i], f.path); err != nil {
			return fail(err)
		}
		written[i] = f.path
	}
	return kept, nil
}

// advise adds the corrective action to an error.
func advise(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; run it as a user that may write there", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; name a directory on a writable file system", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; free space and run it again", err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w; name a directory", err)
	default:
		return fmt.Errorf("%w; check the directory and run it again", err)
	}
}
