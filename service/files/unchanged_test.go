package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUnchangedDetectsWrites: the error names the attributes that changed, also if mtime was set
// back. The entity tag changes in the same cases.
func TestUnchangedDetectsWrites(t *testing.T) {
	past := time.Unix(1_700_000_000, 123_456_789)
	for _, test := range []struct {
		name   string
		change func(name string) error
		want   []string // in the error, in this order; nil: unchanged
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"read", func(name string) error { _, err := os.ReadFile(name); return err }, nil},
		{"truncated", func(name string) error { return os.Truncate(name, 5) },
			[]string{"files: dir/x changed since it was opened: size was 10, is 5", "mtime was ", "ctime was "}},
		{"truncated to 0 bytes", func(name string) error { return os.Truncate(name, 0) }, []string{"size was 10, is 0"}},
		{"extended", func(name string) error { return os.Truncate(name, 11) }, []string{"size was 10, is 11"}},
		{"overwritten in place", overwrite, []string{"opened: mtime was 2023-11-14T22:13:20.123456789Z, is ", "ctime was "}},
		{"overwritten, mtime set back", func(name string) error {
			return errors.Join(overwrite(name), os.Chtimes(name, past, past))
		}, []string{"opened: ctime was "}},
		{"truncated and rewritten, mtime set back", func(name string) error {
			return errors.Join(os.Truncate(name, 0), overwrite(name), os.Chtimes(name, past, past))
		}, []string{"opened: ctime was "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "dir", "x")
			must(t, os.Mkdir(filepath.Dir(name), 0o755))
			must(t, os.WriteFile(name, []byte("0123456789"), 0o644))
			must(t, os.Chtimes(name, past, past))
			f := openFile(t, dir, "dir/x")
			defer f.Release()
			tag := f.stat.etag()
			nextTick(t, dir, f.stat.changed)
			must(t, test.change(name))

			err := f.Unchanged()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			rest := ""
			if err != nil {
				rest = err.Error()
			}
			for _, want := range test.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("%v, want %q", err, test.want)
				}
				rest = after
			}
			// The entity tag changes too.
			now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
			must(t, err)
			if (now.etag() == tag) != (test.want == nil) {
				t.Errorf("the tag was %s, is %s", tag, now.etag())
			}
		})
	}
}

// TestUnchangedAcceptsNewNames: after renames and new links the file is unchanged, in any order, and
// its entity tag is another one. A write among such steps is detected, also with mtime set back if
// no name changed since the last check.
func TestUnchangedAcceptsNewNames(t *testing.T) {
	past := time.Unix(1_700_000_000, 123_456_789)
	replace := func(name string) error {
		return errors.Join(os.WriteFile(name+".new", []byte("other"), 0o644), os.Rename(name+".new", name))
	}
	setBack := func(name string) error { return os.Chtimes(name, past, past) }
	// A step changes the file. name is the path of the open file, and dir a directory for other
	// names.
	type step struct {
		do      func(name, dir string) error
		changed bool // expected result of the check after the step
	}
	at := func(do func(name string) error) func(name, _ string) error {
		return func(name, _ string) error { return do(name) }
	}
	link := step{func(name, dir string) error { return os.Link(name, filepath.Join(dir, "link")) }, false}
	unlink := step{func(name, _ string) error { return os.Remove(name) }, false}
	rename := step{func(name, dir string) error { return os.Rename(name, filepath.Join(dir, "old")) }, false}
	for _, test := range []struct {
		name  string
		steps []step
		large bool // only with files larger than pathSize
	}{
		{"replaced", []step{{at(replace), false}}, false},
		{"removed", []step{unlink}, false},
		{"linked", []step{link}, false},
		{"linked, checked, and the link removed", []step{link,
			{func(_, dir string) error { return os.Remove(filepath.Join(dir, "link")) }, false}}, false},
		{"linked, and replaced, and the link removed", []step{link, {at(replace), false},
			{func(_, dir string) error { return os.Remove(filepath.Join(dir, "link")) }, false}}, false},
		{"linked and the name removed, in one step", []step{{func(name, dir string) error {
			return errors.Join(link.do(name, dir), unlink.do(name, dir))
		}, false}}, true},
		{"renamed", []step{rename}, true},
		{"renamed, checked, and renamed back", []step{rename,
			{func(name, dir string) error { return os.Rename(filepath.Join(dir, "old"), name) }, false}}, true},
		{"moved to another directory", []step{{func(name, dir string) error {
			sub := filepath.Join(dir, "sub")
			return errors.Join(os.Mkdir(sub, 0o755), os.Rename(name, filepath.Join(sub, filepath.Base(name))))
		}, false}}, true},
		{"exchanged", []step{{func(name, dir string) error {
			other := filepath.Join(dir, "other")
			return errors.Join(os.WriteFile(other, []byte("other"), 0o644),
				unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE))
		}, false}}, true},
		{"the directory renamed, then the file replaced", []step{{func(name, dir string) error {
			return os.Rename(filepath.Dir(name), filepath.Join(dir, "moved"))
		}, false}, {func(name, dir string) error {
			return replace(filepath.Join(dir, "moved", filepath.Base(name)))
		}, false}}, false},

		{"new permissions", []step{{func(name, _ string) error { return os.Chmod(name, 0o600) }, true}}, false},
		{"the same permissions", []step{{func(name, _ string) error { return os.Chmod(name, 0o644) }, true}}, false},
		{"linked and overwritten", []step{link, {at(overwrite), true}}, false},
		{"linked and overwritten, in one step", []step{{func(name, dir string) error {
			return errors.Join(link.do(name, dir), overwrite(name))
		}, true}}, false},
		{"linked, then overwritten, mtime set back", []step{link, {func(name, _ string) error {
			return errors.Join(overwrite(name), setBack(name))
		}, true}}, false},
		{"renamed, then overwritten, mtime set back", []step{rename, {func(_, dir string) error {
			name := filepath.Join(dir, "old")
			return errors.Join(overwrite(name), setBack(name))
		}, true}}, true},
		{"replaced and truncated", []step{{func(name, dir string) error {
			return errors.Join(link.do(name, dir), replace(name), os.Truncate(filepath.Join(dir, "link"), 1))
		}, true}}, false},
	} {
		for _, size := range []int{10, pathSize + 1} {
			if test.large && size <= pathSize {
				continue
			}
			for check, unchanged := range map[string]func(*File) error{"Unchanged": (*File).Unchanged, "UnchangedNow": (*File).UnchangedNow} {
				t.Run(fmt.Sprint(test.name, " ", size, " ", check), func(t *testing.T) {
					top := t.TempDir()
					name, dir := filepath.Join(top, "root", "x"), filepath.Join(top, "root-2")
					must(t, errors.Join(os.Mkdir(filepath.Dir(name), 0o755), os.Mkdir(dir, 0o755)))
					must(t, os.WriteFile(name, make([]byte, size), 0o644))
					must(t, setBack(name))
					f := openFile(t, filepath.Dir(name), "x")
					defer f.Release()
					last := f.stat.changed
					for i, s := range test.steps {
						nextTick(t, top, last)
						must(t, s.do(name, dir))
						err := unchanged(f)
						for s.changed && err == nil && check == "UnchangedNow" {
							err = unchanged(f) // a change of ctime alone is reported some milliseconds later
						}
						// Unchanged waits for the decision.
						for range 2 {
							if (err != nil) != s.changed {
								t.Fatalf("step %d: %v, want an error: %v", i, err, s.changed)
							}
							err = f.Unchanged()
						}
						now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
						must(t, err)
						last = now.changed
					}
					now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
					must(t, err)
					if now.etag() == f.stat.etag() {
						t.Errorf("the tag is still %s", now.etag())
					}
				})
			}
		}
	}
}

// TestRenameDuringTheCheckIsAccepted: a rename after the check has read ctime and before it reads the
// path is accepted by this check and the next one.
func TestRenameDuringTheCheckIsAccepted(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	must(t, os.WriteFile(name, make([]byte, pathSize+1), 0o644))
	f := openFile(t, dir, "x")
	defer f.Release()
	nextTick(t, dir, f.stat.changed)
	must(t, os.Link(name, name+".link"))
	once := true
	f.system.path = func(fd int) string {
		if once {
			once = false
			now, err := identify(fd, "", unix.AT_EMPTY_PATH)
			must(t, err)
			nextTick(t, dir, now.changed)
			must(t, os.Rename(name, name+".old"))
		}
		return descriptorPath(fd)
	}
	for range 2 {
		must(t, f.Unchanged())
	}
	if once {
		t.Error("the path was not read")
	}
	// If the path cannot be read, a change of ctime is a change of the file.
	f.system.path = func(int) string { return "" }
	now, err := identify(f.fd, "", unix.AT_EMPTY_PATH)
	must(t, err)
	nextTick(t, dir, now.changed)
	must(t, os.Chmod(name+".old", 0o600))
	if f.Unchanged() == nil {
		t.Error("new permissions are not detected")
	}
}

// TestPartialMetadataUpdateIsNoChange: file systems and the kernel update ctime, the number of links
// and the path one after another, in any order. A check in between reports no change.
func TestPartialMetadataUpdateIsNoChange(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "x"), make([]byte, pathSize+1), 0o644))
	type state struct {
		changed uint32 // nanoseconds
		links   uint32
		path    string
	}
	for _, test := range []struct {
		name   string
		states []state
	}{
		{"a link, ctime first", []state{{2, 1, "x"}, {2, 2, "x"}}},
		{"a link, ctime last", []state{{1, 2, "x"}, {2, 2, "x"}}},
		{"a rename, ctime first", []state{{2, 1, "x"}, {2, 1, "y"}}},
		{"a rename, ctime last", []state{{1, 1, "y"}, {2, 1, "y"}}},
		{"a link added and removed in one tick, and once more", []state{{2, 2, "x"}, {2, 1, "x"}, {3, 2, "x"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := openFile(t, dir, "x")
			defer f.Release()
			at := 0
			f.stat.changed.nanoseconds = 1
			f.accepted = place{changed: f.stat.changed, links: 1, path: "x"}
			f.system.path = func(int) string { return test.states[at].path }
			f.system.identify = func(int) (identity, error) {
				now := f.stat
				now.changed.nanoseconds, now.links = test.states[at].changed, test.states[at].links
				return now, nil
			}
			f.system.identifyNow = f.system.identify
			for at = range test.states {
				must(t, f.UnchangedNow())
			}
			must(t, f.Unchanged())
			// The remaining attributes change while Unchanged waits.
			g := openFile(t, dir, "x")
			defer g.Release()
			g.stat, g.accepted, g.system = f.stat, place{changed: f.stat.changed, links: 1, path: "x"}, f.system
			g.system.wait = func(context.Context, time.Duration) error { at = min(at+1, len(test.states)-1); return nil }
			for at = 0; at < len(test.states); at++ {
				must(t, g.Unchanged())
			}
		})
	}
}

// TestUnchangedIsSafeForGoroutines: several goroutines check the file while it is renamed and
// removed; none reports a change.
func TestUnchangedIsSafeForGoroutines(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	must(t, os.WriteFile(name, make([]byte, pathSize+1), 0o644))
	f := openFile(t, dir, "x")
	defer f.Release()
	var wait sync.WaitGroup
	for _, unchanged := range []func() error{f.Unchanged, f.UnchangedNow, f.Unchanged, f.UnchangedNow} {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 200 {
				if err := unchanged(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	for i := range 20 {
		must(t, os.Rename(name, fmt.Sprint(name, i)))
		name = fmt.Sprint(name, i)
	}
	must(t, os.Remove(name))
	wait.Wait()
}

// overwrite writes other bytes of the same number in place.
func overwrite(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("9876543210"))
	return errors.Join(err, f.Close())
}

// nextTick returns when the file system gives new files another ctime than m.
func nextTick(t *testing.T, dir string, m moment) {
	t.Helper()
	probe := filepath.Join(dir, "probe")
	for {
		must(t, os.WriteFile(probe, nil, 0o644))
		stat, err := identify(unix.AT_FDCWD, probe, 0)
		must(t, err)
		must(t, os.Remove(probe))
		if stat.changed != m {
			return
		}
	}
}
