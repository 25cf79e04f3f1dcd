package files

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestDirectoryDropsAllBelow: the answers below a renamed directory or a removed link are dropped, and
// no others, also when some in the middle of the lists were dropped before.
func TestDirectoryDropsAllBelow(t *testing.T) {
	dir := flatTree(t, 2, 100)
	for _, below := range []string{"a/b", "a/c"} {
		must(t, os.MkdirAll(filepath.Join(dir, below), 0o755))
		for i := range 5 {
			must(t, os.WriteFile(filepath.Join(dir, below, fmt.Sprint(i)), []byte("x"), 0o644))
		}
	}
	k := newCached(t, dir, CacheLimits{Entries: 100, Bytes: 1 << 20, Body: 0}) // nothing expires
	for i := range 5 {
		k.mustPrepare(fmt.Sprintf("/a/b/%d", i))
		k.mustPrepare(fmt.Sprintf("/a/c/%d", i))
	}
	k.mustPrepare("/0")
	must(t, os.Symlink("a/c", filepath.Join(dir, "link")))
	k.mustPrepare("/link/1")
	k.mustPrepare("/link/3")
	must(t, os.Remove(filepath.Join(dir, "link"))) // only its name changes, no directory
	k.Update()
	if k.answers("/link/1") || k.answers("/link/3") {
		t.Error("a removed link is answered")
	}
	for _, target := range []string{"a/b/2", "a/b/4", "a/c/0"} {
		must(t, os.Remove(filepath.Join(dir, target)))
	}
	k.Update()
	if len(k.entries) != 8 {
		t.Fatalf("%d entries after 3 of 11 files were removed", len(k.entries))
	}
	must(t, os.Rename(filepath.Join(dir, "a/b"), filepath.Join(dir, "a/d")))
	k.Update()
	for i := range 5 {
		if k.answers(fmt.Sprintf("/a/b/%d", i)) {
			t.Errorf("/a/b/%d is answered after the rename of /a/b", i)
		}
	}
	if len(k.entries) != 5 || !k.answers("/a/c/4") {
		t.Errorf("%d entries, want the 4 of /a/c, and /0", len(k.entries))
	}
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "e")))
	k.Update()
	if len(k.entries) != 1 || !k.answers("/0") {
		t.Errorf("%d entries after the rename of /a, want /0", len(k.entries))
	}
}

// TestSingleRequestsDisplaceNothing: when there is no room, a file gets an answer at its second
// request.
func TestSingleRequestsDisplaceNothing(t *testing.T) {
	k := newCached(t, flatTree(t, 60, 100), CacheLimits{Entries: 5, Bytes: 1 << 20, Body: 0})
	for i := range 6 { // the last one displaces the first
		k.mustPrepare(fmt.Sprintf("/%d", i))
	}
	for i := 10; i < 60; i++ {
		if k.prepare(fmt.Sprintf("/%d", i)) {
			t.Errorf("/%d has an answer after one request", i)
		}
	}
	for i := 1; i < 6; i++ {
		if !k.answers(fmt.Sprintf("/%d", i)) {
			t.Errorf("/%d is no longer answered", i)
		}
	}
	if !k.prepare("/59") {
		t.Error("/59 has no answer after two requests")
	}
	must(t, os.RemoveAll(k.dir))
	k.Update()
	if k.admits("/0"); k.crowded {
		t.Error("there is room, and files are still admitted at their second request")
	}
}
