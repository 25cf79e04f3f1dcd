package keygen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// file is a file to be written.
type file struct {
	path    string
	mode    os.FileMode
	content []byte
}

// writeBoth writes key and certificate to dir, which it makes if it is missing.
// After an error nothing of it is left.
func writeBoth(dir string, key, certificate file) (err error) {
	made, err := makeFolder(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && made {
			os.Remove(dir)
		}
	}()

	if err := checkFree(key.path, certificate.path); err != nil {
		return err
	}
	if err := writeNew(key); err != nil {
		return err
	}
	if err := writeNew(certificate); err != nil {
		os.Remove(key.path)
		return err
	}
	if err := syncFolder(dir, made); err != nil {
		os.Remove(certificate.path)
		os.Remove(key.path)
		return err
	}
	return nil
}

func makeFolder(dir string) (made bool, err error) {
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w; make the folder %s first", err, filepath.Dir(dir))
	default:
		return false, advise(err)
	}
}

// checkFree finds what is in the way before anything is written. O_EXCL is what
// keeps it from being overwritten.
func checkFree(key, certificate string) error {
	hasKey, err := exists(key)
	if err != nil {
		return err
	}
	hasCertificate, err := exists(certificate)
	if err != nil {
		return err
	}
	switch {
	case hasKey && hasCertificate:
		return fmt.Errorf("%s and %s: %w; use them, or move both away first: nothing is overwritten", key, certificate, fs.ErrExist)
	case hasKey:
		return fmt.Errorf("%s: %w, without its certificate, and is not overwritten; if an earlier run was interrupted, remove it", key, fs.ErrExist)
	case hasCertificate:
		return fmt.Errorf("%s: %w, without its key, and is not overwritten; move it away first", certificate, fs.ErrExist)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, advise(err)
	}
}

// writeNew writes f to disk, or leaves nothing.
func writeNew(f file) (err error) {
	w, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return advise(err)
	}
	defer func() {
		if closeErr := w.Close(); err == nil {
			err = advise(closeErr)
		}
		if err != nil {
			os.Remove(f.path)
		}
	}()
	if _, err := w.Write(f.content); err != nil {
		return advise(err)
	}
	// Whatever the umask is: who may not read the certificate cannot serve it.
	if err := w.Chmod(f.mode); err != nil {
		return advise(err)
	}
	return advise(w.Sync())
}

// syncFolder puts the names in dir on disk, and that of dir itself if it is new.
func syncFolder(dir string, made bool) error {
	folders := []string{dir}
	if made {
		folders = append(folders, filepath.Dir(filepath.Clean(dir)))
	}
	for _, folder := range folders {
		d, err := os.Open(folder)
		if err != nil {
			return advise(err)
		}
		err = d.Sync()
		d.Close()
		// Some file systems have nothing to sync for a folder, fsync(2).
		if err != nil && !errors.Is(err, syscall.EINVAL) {
			return advise(err)
		}
	}
	return nil
}

// advise adds to an error what to do about it.
func advise(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; run it as a user who may write there", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; name a folder on a file system that can be written", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; make room and run it again", err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w; name a folder", err)
	default:
		return fmt.Errorf("%w; check the folder and run it again", err)
	}
}
