package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type value struct {
	Text string `json:"text"`
}

// TestStoreAndLoad: a stored value is loaded again, also over an earlier one, and no temporary file
// is left.
func TestStoreAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	path := filepath.Join(dir, "state.json")
	for _, want := range []value{{"first"}, {"second"}} {
		if err := Store(path, want); err != nil {
			t.Fatal(err)
		}
		var got value
		if err := Load(path, &got); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files, %v; want 1", len(entries), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v; want 0644", info.Mode(), err)
	}
}

// TestStoreFails: a value that cannot be stored leaves the earlier file, and no temporary file.
func TestStoreFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Store(path, value{}); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if err := Store(path, func() {}); err == nil {
		t.Error("a function was stored as JSON")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files, %v; want 1", len(entries), err)
	}
}

// TestLoadDistrusts: the owner of the directory may have put any file there.
func TestLoadDistrusts(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte(`{"text": "x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, fifo, dir} {
		var v value
		if err := Load(path, &v); err == nil || errors.Is(err, ErrTorn) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %+v, %v", filepath.Base(path), v, err)
		}
	}
}

// TestLoadTellsErrorsApart: a file that does not exist and a file that does not parse have errors
// of their own.
func TestLoadTellsErrorsApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	var v value
	if err := Load(path, &v); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	for name, text := range map[string]string{
		"empty":      "",
		"incomplete": `{"text": "x`,
		"too long":   `{"text": "` + strings.Repeat("x", maxSize) + `"}`,
		"other type": `{"text": 1}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Load(path, &v); !errors.Is(err, ErrTorn) {
			t.Errorf("%s: got %v, want ErrTorn", name, err)
		}
	}
}
