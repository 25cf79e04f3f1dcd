package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A change is a change of the tree of cacheTree that concerns the answer for a path.
type change struct {
	name, target string
	do           func(dir string) error
	content      bool // not of a name: detected by the check of the open file
}

// writeAt overwrites bytes of a file in place.
func writeAt(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

func changes() []change {
	at := func(do func(name string) error, names ...string) func(string) error {
		return func(dir string) error { return do(filepath.Join(append([]string{dir}, names...)...)) }
	}
	mode := func(mode os.FileMode) func(string) error {
		return func(name string) error { return os.Chmod(name, mode) }
	}
	replace := func(name string) error {
		return errors.Join(os.WriteFile(name+".new", []byte("new"), 0o644), os.Rename(name+".new", name))
	}
	move := func(from, to string) func(string) error {
		return func(dir string) error { return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)) }
	}
	exchange := func(a, b string) func(string) error {
		return func(dir string) error {
			return unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, a), unix.AT_FDCWD, filepath.Join(dir, b), unix.RENAME_EXCHANGE)
		}
	}
	retarget := func(link, target string) func(string) error {
		return func(dir string) error {
			name := filepath.Join(dir, link)
			return errors.Join(os.Symlink(target, name+".new"), os.Rename(name+".new", name))
		}
	}
	all := func(do ...func(string) error) func(string) error {
		return func(dir string) error {
			for _, d := range do {
				if err := d(dir); err != nil {
					return err
				}
			}
			return nil
		}
	}
	const deep = "/dir/sub/f.json"
	return []change{
		{"renamed over", "/a.txt", at(replace, "a.txt"), false},
		{"large file renamed over", "/big.bin", at(replace, "big.bin"), false},
		{"removed", "/a.txt", at(os.Remove, "a.txt"), false},
		{"moved away", "/a.txt", move("a.txt", "elsewhere"), false},
		{"moved out of the root", "/a.txt", move("a.txt", "../outside"), false},
		{"exchanged", "/a.txt", exchange("a.txt", "big.bin"), false},
		{"written in place, same size", "/a.txt", at(func(n string) error { return writeAt(n, "Z") }, "a.txt"), true},
		{"large file written in place", "/big.bin", at(func(n string) error { return writeAt(n, "Z") }, "big.bin"), true},
		{"written in place, mtime set back", "/a.txt", at(func(n string) error {
			return errors.Join(writeAt(n, "Z"), os.Chtimes(n, time.Time{}, time.Unix(1_700_000_000, 5)))
		}, "a.txt"), true},
		{"truncated", "/a.txt", at(func(n string) error { return os.Truncate(n, 3) }, "a.txt"), true},
		{"appended", "/empty.bin", at(func(n string) error { return os.Truncate(n, 3) }, "empty.bin"), true},
		{"chmod 0", "/a.txt", at(mode(0), "a.txt"), false},
		{"touched", "/a.txt", at(func(n string) error { return os.Chtimes(n, time.Time{}, time.Unix(1_700_000_001, 5)) }, "a.txt"), true},
		{"hard link added", "/a.txt", at(func(n string) error { return os.Link(n, filepath.Join(filepath.Dir(n), "..", "hard")) }, "a.txt"), true},
		{"written through another name", "/dir/sub/f.json", func(dir string) error {
			return writeAt(filepath.Join(filepath.Dir(dir), "other-name"), "Z")
		}, true},
		{"stored through a shared mapping", "/a.txt", at(func(n string) error {
			f, err := os.OpenFile(n, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			m, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			m[0] = 'Z'
			return unix.Munmap(m)
		}, "a.txt"), true},

		{"directory chmod", deep, at(mode(0o700), "dir", "sub"), false},
		{"upper directory chmod", deep, at(mode(0o700), "dir"), false},
		{"root chmod", deep, at(mode(0o700)), false},
		{"directory renamed", deep, move("dir/sub", "dir/sub2"), false},
		{"upper directory renamed", deep, move("dir", "dir2"), false},
		{"directory moved", deep, move("dir/sub", "other/sub"), false},
		{"directory replaced", deep, all(move("dir", "dir2"), at(func(n string) error { return os.MkdirAll(n, 0o755) }, "dir", "sub"),
			at(replace, "dir", "sub", "f.json")), false},
		{"directories exchanged", "/other/x", exchange("other", "swap"), false},
		{"tree removed", deep, at(os.RemoveAll, "dir"), false},

		{"link retargeted", "/link/f.json", retarget("link", "other"), false},
		{"link removed", "/link/f.json", at(os.Remove, "link"), false},
		{"link to a file retargeted", "/chain.txt", retarget("chain.txt", "a.txt"), false},
		{"second link retargeted", "/chain.txt", retarget("link", "other"), false},
		{"directory of a link's target renamed", "/chain.txt", move("dir", "dir2"), false},
		{"file of a link's target renamed over", "/chain.txt", at(replace, "dir", "sub", "f.json"), false},

		{"index.html removed", "/page/", at(os.Remove, "page", "index.html"), false},
		{"index.html renamed over", "/page/", at(replace, "page", "index.html"), false},
		{"index.html becomes a directory", "/page/", all(at(os.Remove, "page", "index.html"),
			at(func(n string) error { return os.Mkdir(n, 0o755) }, "page", "index.html")), false},
	}
}

// linkedTree is cacheTree with a second name of dir/sub/f.json outside the root.
func linkedTree(t testing.TB) string {
	dir := cacheTree(t)
	must(t, os.Link(filepath.Join(dir, "dir/sub/f.json"), filepath.Join(filepath.Dir(dir), "other-name")))
	return dir
}

// TestCacheSeesEachChange: after each kind of change, and an Update, the cache does not give the
// answer that it gave before. When it answers again, it answers like the handler.
func TestCacheSeesEachChange(t *testing.T) {
	for _, ch := range changes() {
		t.Run(ch.name, func(t *testing.T) {
			t.Parallel() // most of the time is waited for the kernel to free watches
			k := newCached(t, linkedTree(t), someLimits)
			k.mustPrepare(ch.target)
			k.Update()
			h := k.head("GET", ch.target)
			if _, ok := k.get(h, k.now(), false); !ok {
				t.Fatal("not answered before the change")
			}
			k.tick()
			must(t, ch.do(k.dir))
			k.Update()
			if got, ok := k.get(h, k.now(), false); ok {
				t.Fatalf("the old answer: %q", got)
			}
			k.offset.Add(int64(2 * retry))
			k.prepare(ch.target)
			k.same(h, false)
		})
	}
}

// TestNamesAreWatched: each change of a name drops the answer in Update, without a check of the
// open file.
func TestNamesAreWatched(t *testing.T) {
	for _, ch := range changes() {
		if ch.content {
			continue
		}
		t.Run(ch.name, func(t *testing.T) {
			t.Parallel() // most of the time is waited for the kernel to free watches
			k := newCached(t, linkedTree(t), someLimits)
			k.mustPrepare(ch.target)
			must(t, ch.do(k.dir))
			k.Update()
			if n := len(k.entries); n != 0 {
				t.Errorf("%d entries after the change", n)
			}
		})
	}
}

// steps calls do at the n-th step of the next job, and reports whether there was such a step. Steps
// are before and after each watch and lookup, after the file was opened, and after it was read.
func (k *cached) steps(n int, do func()) (reached func() bool) {
	at, done := 0, false
	step := func() {
		if at == n && !done {
			done = true
			do()
		}
		at++
	}
	names, system := k.names, &k.handler.system
	watch, look, identify, of := names.add, look, kernel().identify, system.origin
	names.watch = func(fd int) (int32, error) {
		step()
		defer step()
		return watch(fd)
	}
	names.look = func(fd int, name string) (int, error) {
		step()
		defer step()
		return look(fd, name)
	}
	system.identify = func(fd int) (identity, error) { // by settled, and by Check after the content was read
		step()
		return identify(fd)
	}
	system.origin = func(fd int, stat identity) origin {
		step()
		return of(fd, stat)
	}
	return func() bool {
		names.watch, names.look, system.identify, system.origin = watch, look, identify, of
		return done
	}
}

// TestChangeDuringPreparationIsSeen: the change comes at each step of the job, and an Update comes
// after the change, or not. After the job and an Update, the cache answers like the handler or not
// at all.
func TestChangeDuringPreparationIsSeen(t *testing.T) {
	for _, ch := range changes() {
		for _, update := range []bool{false, true} {
			if testing.Short() && !update {
				continue
			}
			t.Run(fmt.Sprint(ch.name, " update ", update), func(t *testing.T) {
				t.Parallel()
				var caches sync.WaitGroup
				defer caches.Wait()
				for n := 0; ; n++ {
					k := openCached(t, linkedTree(t), someLimits)
					caches.Add(1)
					finish := func() {
						defer caches.Done()
						k.finish()
					}
					if ch.content {
						k.tick()
					}
					h := k.head("GET", ch.target)
					job := k.Prepare(pathOf(h))
					reached := k.steps(n, func() {
						must(t, ch.do(k.dir))
						if update {
							k.Update()
						}
					})
					job()
					changed := reached()
					k.Update()
					k.same(h, false)
					go finish()
					if !changed {
						break
					}
				}
			})
		}
	}
}

// TestPermissionsDuringPreparationAreSeen: a directory on the path gets other permissions during the
// job, and an Update reads the event. The answer is not used.
func TestPermissionsDuringPreparationAreSeen(t *testing.T) {
	for _, name := range []string{"dir/sub", "dir", ""} {
		k := newCached(t, cacheTree(t), someLimits)
		of := k.handler.system.origin
		k.handler.system.origin = func(fd int, stat identity) origin {
			must(t, os.Chmod(filepath.Join(k.dir, name), 0o700))
			k.Update()
			return of(fd, stat)
		}
		if k.prepare("/dir/sub/f.json") {
			t.Errorf("used after new permissions of /%s", name)
		}
	}
}

// TestWatchPrecedesLookup: a link is retargeted at each step of the job, to a directory with another
// name of the same file. When that directory is replaced later, which does not change the file's
// attributes, the change is seen.
func TestWatchPrecedesLookup(t *testing.T) {
	for n := 0; ; n++ {
		k := newCached(t, cacheTree(t), someLimits)
		in := func(name string) string { return filepath.Join(k.dir, name) }
		must(t, os.Mkdir(in("second"), 0o755))
		must(t, os.Link(in("dir/sub/f.json"), in("second/f.json")))
		must(t, os.Mkdir(in("third"), 0o755))
		must(t, os.WriteFile(in("third/f.json"), []byte("other"), 0o644))
		h := k.head("GET", "/link/f.json")
		job := k.Prepare(pathOf(h))
		reached := k.steps(n, func() {
			// The old link keeps its last name, which step compares.
			must(t, errors.Join(os.Rename(in("link"), in("other/link")), os.Symlink("second", in("link"))))
		})
		job()
		changed := reached()
		k.Update()
		k.same(h, false)
		must(t, errors.Join(os.Rename(in("second"), in("away")), os.Rename(in("third"), in("second"))))
		k.Update()
		k.same(h, false)
		if !changed {
			return
		}
	}
}

// TestNewMountIsSeen: a file system that is mounted on the path, and its removal. It needs the
// privilege to mount.
func TestNewMountIsSeen(t *testing.T) {
	for _, test := range []struct{ target, point, kind string }{
		{"/dir/sub/f.json", "dir", "tmpfs"}, {"/a.txt", "a.txt", "bind"},
	} {
		k := newCached(t, cacheTree(t), someLimits)
		k.mustPrepare(test.target)
		point := filepath.Join(k.dir, test.point)
		var err error
		if test.kind == "bind" {
			err = unix.Mount(filepath.Join(k.dir, "big.bin"), point, "", unix.MS_BIND, "")
		} else {
			err = unix.Mount("none", point, test.kind, 0, "")
		}
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			t.Skip("mount: ", err)
		}
		must(t, err)
		mounted := true
		t.Cleanup(func() {
			if mounted {
				unix.Unmount(point, unix.MNT_DETACH)
			}
		})
		k.Update()
		h := k.head("GET", test.target)
		if got, ok := k.get(h, k.now(), false); ok {
			t.Errorf("%s: the old answer after mount(2): %q", test.target, got)
		}
		k.offset.Add(int64(2 * retry))
		if k.prepare(test.target) {
			t.Errorf("%s is prepared below a mount point", test.target)
		}
		must(t, unix.Unmount(point, 0))
		mounted = false
		k.offset.Add(int64(2 * retry))
		k.mustPrepare(test.target)
		k.same(h, false)
	}
}
