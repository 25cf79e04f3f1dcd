package cpio

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// File types of the mode field, as in stat(2).
const (
	typeDir    = 0o040000
	typeFile   = 0o100000
	typeChar   = 0o020000
	trailer    = "TRAILER!!!"
	headerSize = 110
	maxSize    = 1<<32 - 1 // the size field has eight hexadecimal digits
)

// A Writer writes one archive. Directories are added as files need them. It is not safe for
// concurrent use.
type Writer struct {
	w     io.Writer
	inode uint32
	dirs  map[string]bool
	err   error
}

// NewWriter returns a Writer that writes to w. Close ends the archive; it does not close w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, dirs: map[string]bool{".": true}}
}

// Dir adds the directory name and the directories above it. Directories that exist are no error.
func (w *Writer) Dir(name string, perm uint32) error {
	name, err := clean(name)
	if err != nil {
		return err
	}
	return w.dir(name, perm)
}

// File adds a regular file of exactly size bytes read from r.
func (w *Writer) File(name string, perm uint32, size int64, r io.Reader) error {
	name, err := clean(name)
	if err != nil {
		return err
	}
	if size < 0 || size > maxSize {
		return fmt.Errorf("cpio: %s: %d bytes do not fit the newc format; make large files in the guest", name, size)
	}
	if err := w.dir(path.Dir(name), 0o755); err != nil {
		return err
	}
	w.header(name, typeFile|perm&0o7777, size, 0, 0)
	if w.err != nil {
		return w.err
	}
	n, err := io.Copy(w.w, io.LimitReader(r, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		w.err = fmt.Errorf("cpio: %s: %d of %d bytes: %w", name, n, size, err)
		return w.err
	}
	w.pad(size)
	return w.err
}

// CharDevice adds a character device node.
func (w *Writer) CharDevice(name string, perm, major, minor uint32) error {
	name, err := clean(name)
	if err != nil {
		return err
	}
	if err := w.dir(path.Dir(name), 0o755); err != nil {
		return err
	}
	w.header(name, typeChar|perm&0o7777, 0, major, minor)
	return w.err
}

// Close writes the end of the archive.
func (w *Writer) Close() error {
	w.header(trailer, 0, 0, 0, 0)
	if w.err != nil {
		return w.err
	}
	w.err = errors.New("cpio: write after Close")
	return nil
}

func (w *Writer) dir(name string, perm uint32) error {
	if w.dirs[name] {
		return w.err
	}
	if err := w.dir(path.Dir(name), 0o755); err != nil {
		return err
	}
	w.dirs[name] = true
	w.header(name, typeDir|perm&0o7777, 0, 0, 0)
	return w.err
}

// header writes the 110 bytes of the header and the name, padded to four.
func (w *Writer) header(name string, mode uint32, size int64, major, minor uint32) {
	w.inode++
	h := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		w.inode, mode,
		0, 0, // uid, gid
		1,    // links
		0,    // mtime: always 0, so that archives are reproducible
		size, // bytes of data
		0, 0, // device of the file
		major, minor, // device numbers of the node
		len(name)+1,
		0, // checksum, not used by newc
		name)
	w.write(h)
	w.pad(int64(len(h)))
}

func (w *Writer) pad(n int64) { w.write("\x00\x00\x00"[:(4-n%4)%4]) }

func (w *Writer) write(s string) {
	if w.err == nil && s != "" {
		_, w.err = io.WriteString(w.w, s)
	}
}

// clean makes a name relative to the root, as the kernel expects it.
func clean(name string) (string, error) {
	rel := strings.TrimPrefix(path.Clean("/"+name), "/")
	if rel == "" || rel == trailer || strings.ContainsRune(rel, 0) {
		return "", fmt.Errorf("cpio: %q cannot name a file of the archive", name)
	}
	return rel, nil
}
