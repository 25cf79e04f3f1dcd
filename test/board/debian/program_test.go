package debian

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFindLibraryBelowRoot(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"lib/arm-linux-gnueabihf/libc.so.6", "usr/lib/x86_64-linux-gnu/libssl.so.3", "lib64/ld.so.2"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"libc.so.6":   "/lib/arm-linux-gnueabihf/libc.so.6",
		"libssl.so.3": "/usr/lib/x86_64-linux-gnu/libssl.so.3",
		"ld.so.2":     "/lib64/ld.so.2",
		"libz.so.1":   "",
	} {
		if got, err := findLibrary(root, name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}
