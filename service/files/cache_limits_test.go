package files

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// answers reports whether the cache answers a GET.
func (k *cached) answers(target string) bool {
	k.t.Helper()
	_, ok := k.get(k.head("GET", target), k.now(), false)
	return ok
}

// watched returns the number of watches that the kernel has.
func (k *cached) watched() int {
	k.t.Helper()
	info, err := os.ReadFile(fmt.Sprint("/proc/self/fdinfo/", k.names.inotify))
	must(k.t, err)
	return strings.Count(string(info), "inotify wd:")
}

// flatTree makes a directory with the files 0 to n-1 of size bytes.
func flatTree(t testing.TB, n, size int) string {
	dir := filepath.Join(t.TempDir(), "root")
	must(t, os.Mkdir(dir, 0o755))
	for i := range n {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, size), 0o644))
	}
	return dir
}

// TestCacheIsBounded: the answer that was used least recently is dropped first, when there are too
// many or they need too much memory.
func TestCacheIsBounded(t *testing.T) {
	for name, limits := range map[string]CacheLimits{
		"entries": {Entries: 3, Bytes: 1 << 30, Body: 100},
		"bytes":   {Entries: 100, Bytes: 3*(overhead+watchCost) + 4300, Body: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCached(t, flatTree(t, 5, 1000), limits)
			for _, target := range []string{"/0", "/1", "/2"} {
				k.mustPrepare(target)
			}
			if !k.answers("/0") {
				t.Fatal("/0 is not answered")
			}
			k.mustPrepare("/3")
			if k.answers("/1") {
				t.Error("/1, used least recently, is still answered")
			}
			for _, target := range []string{"/0", "/2", "/3"} {
				if !k.answers(target) {
					t.Errorf("%s is not answered", target)
				}
			}
			if k.bytes > limits.Bytes || len(k.entries) != 3 {
				t.Errorf("%d entries, %d bytes", len(k.entries), k.bytes)
			}
		})
	}
	k := newCached(t, flatTree(t, 1, 1000), CacheLimits{Entries: 1, Bytes: 100, Body: 1000})
	if k.prepare("/0") || k.bytes != 0 {
		t.Errorf("an entry larger than all memory; %d bytes are charged", k.bytes)
	}
}

// TestMemoryExpires: a body in memory is not used for longer than memoryLife, since a store into a
// mapping may have changed the file without a change of its timestamps. A file that is open only
// does not expire.
func TestMemoryExpires(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/a.txt")
	k.mustPrepare("/big.bin")
	k.offset.Add(int64(memoryLife - time.Second))
	if !k.answers("/a.txt") {
		t.Error("dropped too early")
	}
	k.offset.Add(int64(time.Second))
	if k.answers("/a.txt") {
		t.Errorf("answered from memory after %v", memoryLife)
	}
	k.offset.Add(int64(time.Hour))
	if !k.answers("/big.bin") {
		t.Error("an open file has expired")
	}
}

// TestImagesExpire: the entity tag of a file from an image depends on the number of sectors written,
// so its answer is not used for longer than imageLife.
func TestImagesExpire(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.handler.system.origin = func(int, identity) origin { return origin{"0123456789abcdef", true} }
	k.mustPrepare("/big.bin")
	if !k.same(k.head("GET", "/big.bin", "If-Modified-Since", "Tue, 14 Nov 2023 22:13:20 GMT"), false) {
		t.Error("not answered")
	}
	k.offset.Add(int64(imageLife))
	if k.answers("/big.bin") {
		t.Errorf("a file from an image is answered after %v", imageLife)
	}
}

// TestFutureTimesAreNotAnswered: Last-Modified of a file with a time in the future is the time of the
// request. The clock may also be set back after the file was prepared.
func TestFutureTimesAreNotAnswered(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	must(t, os.Chtimes(filepath.Join(k.dir, "big.bin"), time.Time{}, time.Now().Add(time.Hour)))
	if k.prepare("/big.bin") || len(k.entries) != 0 {
		t.Error("a file with a time in the future is prepared")
	}
	k.mustPrepare("/a.txt")
	if _, ok := k.get(k.head("GET", "/a.txt"), time.Unix(1_600_000_000, 0), false); ok {
		t.Error("answered when the clock is before the file's time")
	}
}

// TestUnsettledFilesAreNotPrepared: a file that may change once more within its tick has no answer,
// and the job does not wait for it.
func TestUnsettledFilesAreNotPrepared(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	settled := k.handler.system.now
	stat, err := identify(unix.AT_FDCWD, filepath.Join(k.dir, "a.txt"), 0)
	must(t, err)
	k.handler.system.now = func() time.Time { return stat.changed.time() }
	k.handler.system.wait = func(context.Context, time.Duration) error {
		t.Error("the job waits")
		return context.Canceled
	}
	if k.prepare("/a.txt") {
		t.Error("a file that has just changed is prepared")
	}
	k.handler.system.now = settled
	if k.Prepare("/a.txt") != nil {
		t.Error("tried again at once")
	}
	k.offset.Add(int64(retry))
	k.mustPrepare("/a.txt")
}

// forged returns an event as the kernel writes it.
func forged(wd int32, mask uint32, name string) []byte {
	b := make([]byte, eventSize, eventSize+16)
	binary.NativeEndian.PutUint32(b, uint32(wd))
	binary.NativeEndian.PutUint32(b[4:], mask)
	if name != "" {
		padded := (len(name) + 16) / 16 * 16
		binary.NativeEndian.PutUint32(b[12:], uint32(padded))
		b = append(append(b, name...), make([]byte, padded-len(name))...)
	}
	return b
}

// TestLostEventsDropAll: if the kernel's queue has overflowed, all answers are dropped, and one that
// is being prepared is not used. A malformed event counts as lost.
func TestLostEventsDropAll(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/a.txt")
	k.mustPrepare("/big.bin")
	job := k.Prepare("/other/x")
	if k.apply(forged(1<<20, unix.IN_CREATE, "a.txt")); len(k.entries) != 2 {
		t.Error("an event of an unknown watch drops entries")
	}
	if k.apply(forged(-1, unix.IN_Q_OVERFLOW, "")); len(k.entries) != 0 {
		t.Errorf("%d entries after an overflow", len(k.entries))
	}
	job()
	if k.Update(); len(k.entries) != 0 {
		t.Error("an answer that was prepared during an overflow is used")
	}
	long := forged(1, unix.IN_CREATE, "a.txt")
	for n := 1; n < len(long); n++ {
		if k.apply(long[:n]) {
			t.Errorf("%d bytes of an event are accepted", n)
		}
	}
}

// TestFloodDropsAll: Update does not read an endless queue, and then trusts nothing. Afterwards the
// cache works.
func TestFloodDropsAll(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/big.bin")
	k.events = k.events[:64] // a few events for each read
	flood := func() {
		for range 20 {
			for _, name := range []string{"x", "y"} { // equal events that follow one another are merged
				must(t, os.WriteFile(filepath.Join(k.dir, name), nil, 0o644))
				must(t, os.Remove(filepath.Join(k.dir, name)))
			}
		}
	}
	k.Prepare("/a.txt")()
	flood()
	must(t, os.Rename(filepath.Join(k.dir, "other/x"), filepath.Join(k.dir, "a.txt")))
	if k.Update(); len(k.entries) != 0 {
		t.Errorf("%d entries although events are not read yet", len(k.entries))
	}
	k.events = k.events[:cap(k.events)]
	k.offset.Add(int64(2 * retry))
	k.mustPrepare("/a.txt")
	k.same(k.head("GET", "/a.txt"), false)
}

// TestChangesDuringPreparationAreBounded: more changes than are remembered make the answer void.
func TestChangesDuringPreparationAreBounded(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/other/x") // watches the root
	job := k.Prepare("/a.txt")
	for i := range maxSeen + 1 {
		must(t, os.WriteFile(filepath.Join(k.dir, fmt.Sprint(i)), nil, 0o644))
	}
	k.Update()
	if len(k.seen) > maxSeen {
		t.Errorf("%d changes are remembered", len(k.seen))
	}
	job()
	if k.Update(); k.entries["/a.txt"] != nil {
		t.Error("used although changes were forgotten")
	}
}

// TestMissingWatchesLeaveTheHandler: without a watch there is no answer, and the cache works again
// when there are watches.
func TestMissingWatchesLeaveTheHandler(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.names.watch = func(int) (int32, error) { return 0, os.NewSyscallError("inotify_add_watch", unix.ENOSPC) }
	if k.prepare("/a.txt") {
		t.Error("prepared without a watch")
	}
	left := 1
	k.names.watch = func(fd int) (int32, error) {
		if left--; left < 0 {
			return 0, unix.ENOSPC
		}
		return k.names.add(fd)
	}
	k.offset.Add(int64(2 * retry))
	if k.prepare("/dir/sub/f.json") {
		t.Error("prepared without a watch of each directory")
	}
	k.names.watch = k.names.add
	k.offset.Add(int64(2 * retry))
	k.mustPrepare("/dir/sub/f.json")
}

// TestUnusedWatchesAreRemoved: watches that no answer needs are removed by the next job, and those
// of removed directories by the kernel.
func TestUnusedWatchesAreRemoved(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/dir/sub/f.json")
	k.mustPrepare("/a.txt")
	if n := k.watched(); n != 3 {
		t.Fatalf("%d watches", n)
	}
	must(t, os.Remove(filepath.Join(k.dir, "dir/sub/f.json")))
	k.Update()
	k.mustPrepare("/big.bin")
	if n := k.watched(); n != 1 || len(k.watches) != 1 {
		t.Errorf("%d watches, and %d are known, after the last file below was removed", n, len(k.watches))
	}
	k.mustPrepare("/other/x")
	must(t, os.RemoveAll(filepath.Join(k.dir, "other")))
	k.Update()
	k.release() // the open file keeps the directory in the kernel
	k.Update()
	if n := k.watched(); n != 1 || len(k.watches) != 1 {
		t.Errorf("%d watches, and %d are known, after the directory was removed", n, len(k.watches))
	}
}

// TestRemovedWatchIsNotShared: a job that gets a watch that no answer needs any more still sees
// changes.
func TestRemovedWatchIsNotShared(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/other/x")
	k.mustPrepare("/a.txt")
	if k.Prepare("/other/x") != nil {
		t.Fatal("a second preparation of a path")
	}
	must(t, os.Rename(filepath.Join(k.dir, "other/x"), filepath.Join(k.dir, "other/y")))
	k.Update() // the watch of other is idle
	k.mustPrepare("/other/y")
	must(t, os.Rename(filepath.Join(k.dir, "a.txt"), filepath.Join(k.dir, "other/y")))
	k.Update()
	if k.answers("/other/y") || k.answers("/a.txt") {
		t.Error("a change is not seen")
	}
}

// TestDroppedFilesAreNotClosed: the caller of Update and Answer does not close a file, which may have
// been deleted.
func TestDroppedFilesAreNotClosed(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/big.bin")
	k.mustPrepare("/a.txt")
	must(t, os.Remove(filepath.Join(k.dir, "big.bin")))
	k.Update()
	must(t, os.Truncate(filepath.Join(k.dir, "a.txt"), 1))
	k.Update()
	if _, ok := k.Answer(k.head("GET", "/a.txt"), k.now(), nil, false); ok {
		t.Error("the old answer")
	}
	dropped := k.Dropped(nil)
	if len(dropped) != 2 || k.Dropped(nil) != nil {
		t.Fatalf("%d files", len(dropped))
	}
	for _, f := range dropped {
		if _, err := f.ReadAt(make([]byte, 1), 0); err != nil {
			t.Errorf("%s: %v", f.Name(), err)
		}
		f.Release()
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s has another holder", f.Name())
		}
	}
}

// TestAnswerHoldsItsFile: a dropped file stays open until its answer is released.
func TestAnswerHoldsItsFile(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/big.bin")
	a, ok := k.Answer(k.head("GET", "/big.bin", "Range", "bytes=10-"), k.now(), nil, false)
	if !ok || a.Off != 10 || a.N != 9990 || a.Length != 9990 || a.Status != 206 {
		t.Fatalf("%v %+v", ok, a)
	}
	must(t, os.Remove(filepath.Join(k.dir, "big.bin")))
	k.Update()
	k.release()
	if _, err := a.File.ReadAt(make([]byte, 1), 0); err != nil {
		t.Error(err)
	}
	a.File.Release()
}

// TestCloseDuringPreparation: a job that ends or begins after Close leaves no descriptor.
func TestCloseDuringPreparation(t *testing.T) {
	for _, during := range []bool{false, true} {
		k := openCached(t, cacheTree(t), someLimits)
		k.mustPrepare("/a.txt")
		job := k.Prepare("/big.bin")
		if during {
			reached := k.steps(3, k.Close)
			job()
			reached()
		} else {
			k.Close()
			job()
		}
		k.handler.options.Directory.Close()
		k.handler.root.Close()
		for fd := range 1000 {
			if name := descriptorPath(fd); strings.HasPrefix(name, k.top) {
				t.Errorf("during %v: %s is open", during, name)
			}
		}
	}
	k := newCached(t, cacheTree(t), someLimits) // closed with an answer that is not adopted
	k.Prepare("/big.bin")()
}

// TestOnlyExactNamesAreCached: file systems that ignore case, that other machines change, or that
// are not known are not cached.
func TestOnlyExactNamesAreCached(t *testing.T) {
	for kind, want := range map[uint32]bool{
		unix.EXT4_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true, unix.OVERLAYFS_SUPER_MAGIC: true, unix.SQUASHFS_MAGIC: true,
		unix.MSDOS_SUPER_MAGIC: false, unix.EXFAT_SUPER_MAGIC: false, 0x5346544e: false /* NTFS */, 0x482b: false, /* HFS+ */
		unix.NFS_SUPER_MAGIC: false, unix.FUSE_SUPER_MAGIC: false, unix.ISOFS_SUPER_MAGIC: false, 0: false,
	} {
		if got := exactNames(kind); got != want {
			t.Errorf("%#x: %v", kind, got)
		}
	}
	k := newCached(t, cacheTree(t), someLimits)
	k.usable = false
	if k.prepare("/a.txt") {
		t.Error("prepared on a file system that is not known")
	}
	k.usable = true
	must(t, os.Link(filepath.Join(k.dir, "a.txt"), filepath.Join(k.dir, "A.TXT")))
	k.names.look = func(fd int, name string) (int, error) { return look(fd, strings.ToLower(name)) } // as on FAT
	if k.prepare("/A.TXT") {
		t.Error("prepared under another name")
	}
	root, err := os.OpenRoot("/proc")
	must(t, err)
	defer root.Close()
	proc, err := root.Open(".")
	must(t, err)
	defer proc.Close()
	if _, err := NewCache(root, Options{Directory: proc}, someLimits); err == nil {
		t.Error("no error for proc, whose changes are not reported")
	}
	if proc := newCached(t, "/proc", someLimits); proc.prepare("/version") {
		t.Error("prepared in proc")
	}
}

// TestLookupAndOpenAgree: an answer is not used if the open file is not the one that was looked up.
func TestLookupAndOpenAgree(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	must(t, os.WriteFile(filepath.Join(k.dir, "swap/x"), nil, 0o644))
	k.names.look = func(fd int, name string) (int, error) {
		if name == "x" {
			return unix.Open(filepath.Join(k.dir, "swap/x"), unix.O_PATH|unix.O_CLOEXEC, 0)
		}
		return look(fd, name)
	}
	if k.prepare("/other/x") {
		t.Error("another file than the one that was looked up")
	}
}
