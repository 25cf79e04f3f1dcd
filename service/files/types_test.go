package files

import (
	"os"
	"path/filepath"
	"testing"
)

func TestContentTypeDependsOnTheNameOnly(t *testing.T) {
	for name, want := range map[string]string{
		"a.raucb": "application/octet-stream", "a.swu": "application/octet-stream", "a.unknown": "application/octet-stream",
		"a": "application/octet-stream", "a.": "application/octet-stream", ".html": "text/html; charset=utf-8",
		"A.HTML": "text/html; charset=utf-8", "a.tar.gz": "application/gzip", "a.img.zst": "application/zstd",
		"a.json": "application/json", "a.sha256": "text/plain; charset=utf-8", "a.html/b": "application/octet-stream",
		"a.deb": "application/vnd.debian.binary-package", "a.svg": "image/svg+xml", "a.js": "text/javascript; charset=utf-8",
	} {
		if got := contentType(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	// The content does not matter.
	root, dir := tree(t)
	must(t, os.WriteFile(filepath.Join(dir, "looks.bin"), []byte("<html><script>"), 0o644))
	if got := do(t, New(root, Options{}), request("GET", "/looks.bin")).Header().Get("Content-Type"); got != "application/octet-stream" {
		t.Errorf("HTML in a .bin: %s", got)
	}
}
