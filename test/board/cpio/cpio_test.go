package cpio

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// entry is an entry of an archive, as the test's own reader finds it.
type entry struct {
	name         string
	mode         uint64
	data         string
	major, minor uint64
}

// parse reads a newc archive strictly, by the description of the format.
func parse(b []byte) ([]entry, error) {
	var all []entry
	inodes := map[uint64]bool{}
	for off := 0; ; {
		if off%4 != 0 || off+headerSize > len(b) {
			return nil, fmt.Errorf("header at %d of %d bytes", off, len(b))
		}
		if string(b[off:off+6]) != "070701" {
			return nil, fmt.Errorf("magic at %d: %q", off, b[off:off+6])
		}
		var f [13]uint64
		for i := range f {
			v, err := strconv.ParseUint(string(b[off+6+8*i:off+14+8*i]), 16, 32)
			if err != nil {
				return nil, err
			}
			f[i] = v
		}
		if inodes[f[0]] {
			return nil, fmt.Errorf("inode %d twice: the kernel would link the files", f[0])
		}
		inodes[f[0]] = true
		nameEnd := off + headerSize + int(f[11])
		if b[nameEnd-1] != 0 {
			return nil, fmt.Errorf("name at %d does not end in a zero byte", off)
		}
		e := entry{name: string(b[off+headerSize : nameEnd-1]), mode: f[1], major: f[9], minor: f[10]}
		start := (nameEnd + 3) &^ 3
		end := start + int(f[6])
		e.data = string(b[start:end])
		off = (end + 3) &^ 3
		if e.name == trailer {
			if off != len(b) {
				return nil, fmt.Errorf("%d bytes after the trailer", len(b)-off)
			}
			return all, nil
		}
		all = append(all, e)
	}
}

func TestWriterFollowsFormat(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	steps := []error{
		w.Dir("proc", 0o555),
		w.Dir("/proc", 0o555),
		w.File("/init", 0o755, 5, strings.NewReader("hello, and more")),
		w.File("lib/modules/a.ko", 0o644, 0, strings.NewReader("")),
		w.File("lib/modules/../b", 0o600, 4, strings.NewReader("1234")),
		w.CharDevice("dev/console", 0o600, 5, 1),
		w.Close(),
	}
	for i, err := range steps {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	got, err := parse(buf.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{name: "proc", mode: 0o040555},
		{name: "init", mode: 0o100755, data: "hello"},
		{name: "lib", mode: 0o040755},
		{name: "lib/modules", mode: 0o040755},
		{name: "lib/modules/a.ko", mode: 0o100644},
		{name: "lib/b", mode: 0o100600, data: "1234"},
		{name: "dev", mode: 0o040755},
		{name: "dev/console", mode: 0o020600, major: 5, minor: 1},
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("entries:\n got %s\nwant %s", g, w)
	}
}

func TestWriterRejectsWrongInput(t *testing.T) {
	tests := []struct {
		name string
		do   func(*Writer) error
	}{
		{"a short file", func(w *Writer) error { return w.File("a", 0o644, 5, strings.NewReader("abc")) }},
		{"a negative size", func(w *Writer) error { return w.File("a", 0o644, -1, strings.NewReader("")) }},
		{"a size of 4 GiB", func(w *Writer) error { return w.File("a", 0o644, 1<<32, strings.NewReader("")) }},
		{"the root", func(w *Writer) error { return w.Dir("/", 0o755) }},
		{"the trailer's name", func(w *Writer) error { return w.File(trailer, 0o644, 0, strings.NewReader("")) }},
		{"a write after Close", func(w *Writer) error {
			if err := w.Close(); err != nil {
				return nil
			}
			return w.Dir("a", 0o755)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(NewWriter(io.Discard)); err == nil {
				t.Error("no error")
			}
		})
	}
}
