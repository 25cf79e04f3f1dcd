package files

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A board is a set of kernel data about the origin of a file.
type board struct {
	files    map[string]string
	kind     uint32
	readOnly bool
	mount    uint64
	process  string
	stat     identity
}

func (b board) of() origin {
	s := originSource{
		read: func(name string) (string, error) {
			if text, ok := b.files[name]; ok {
				return text, nil
			}
			return "", fs.ErrNotExist
		},
		statfs: func(int) (uint32, bool, error) {
			if b.kind == 0 {
				return 0, false, errors.ErrUnsupported
			}
			return b.kind, b.readOnly, nil
		},
		mountID: func(int) (uint64, error) {
			if b.mount == 0 {
				return 0, errors.ErrUnsupported
			}
			return b.mount, nil
		},
		process: b.process,
	}
	return s.of(3, b.stat)
}

const (
	bootID    = "/proc/sys/kernel/random/boot_id"
	mountinfo = "/proc/self/mountinfo"
	partition = "/sys/dev/block/179:2"
	ext4Magic = unix.EXT4_SUPER_MAGIC
)

// slot returns a board with a squashfs in the second partition of an eMMC.
func slot() board {
	clamped := moment{1_700_000_000, 0}
	return board{
		files: map[string]string{
			bootID:                    "b0",
			partition + "/../diskseq": "1",
			partition + "/stat":       "     100        0      800       10        4        0       32        5        0       10       15",
			mountinfo: "36 35 179:3 / /data rw,noatime master:1 - ext4 /dev/mmcblk0p3 rw,errors=continue\n" +
				"37 35 179:2 / /srv ro,noatime shared:7 master:1 - ext4 /dev/mmcblk0p2 ro,errors=continue\n",
		},
		kind: unix.SQUASHFS_MAGIC, readOnly: true, mount: 99, process: "p0",
		stat: identity{device: 179<<32 | 2, inode: 1, size: 100, modified: clamped, changed: clamped},
	}
}

// TestOriginDistinguishesImages: the origin changes with the boot, the medium and the written image,
// but not with a restart of the service.
func TestOriginDistinguishesImages(t *testing.T) {
	set := func(name, text string) func(*board) {
		return func(b *board) { b.files[name] = text }
	}
	all := func(changes ...func(*board)) func(*board) {
		return func(b *board) {
			for _, change := range changes {
				change(b)
			}
		}
	}
	without := func(name string) func(*board) { return func(b *board) { delete(b.files, name) } }
	ext4 := func(b *board) { b.kind = ext4Magic }
	writable := all(ext4, func(b *board) {
		b.files[mountinfo] = strings.ReplaceAll(b.files[mountinfo], "p2 ro,", "p2 rw,")
	})
	anonymous := func(b *board) { b.kind, b.stat.device = unix.OVERLAYFS_SUPER_MAGIC, 0x20 }
	restart := func(b *board) { b.process = "p1" }
	remount := func(b *board) { b.mount++ }
	boot := set(bootID, "b1")
	write := set(partition+"/stat", "1 2 3 4 5 6 7 8")
	none := func(*board) {}
	for _, test := range []struct {
		name          string
		both, then    func(*board)
		differs, date bool // date: the file is from an image, so its date identifies nothing
	}{
		{"a restart", none, restart, false, true},
		{"a restart with private mounts", none, all(restart, remount), false, true},
		{"a boot", none, boot, true, true},
		{"another slot", none, func(b *board) { b.stat.device++; b.files["/sys/dev/block/179:3/../diskseq"] = "1" }, true, true},
		{"another medium", none, set(partition+"/../diskseq", "2"), true, true},
		{"another disk", set(partition+"/diskseq", "8"), set(partition+"/diskseq", "9"), true, true},
		{"the slot is written", none, write, true, true},
		{"ext4, read-only: the slot is written", ext4, write, true, true},
		{"ext4, read-only: a restart", ext4, all(restart, remount), false, true},
		{"ext4, only this mount is read-only: written", writable, write, false, false},
		{"ext4, mount unknown: written", all(ext4, without(mountinfo)), write, false, false},
		{"ext4, writable: written", all(ext4, func(b *board) { b.readOnly = false }), all(write, restart), false, false},
		{"erofs", func(b *board) { b.kind = unix.EROFS_SUPER_MAGIC_V1 }, boot, true, true},
		{"erofs with fractions of a second", func(b *board) {
			b.kind, b.stat.modified.nanoseconds, b.stat.changed.nanoseconds = unix.EROFS_SUPER_MAGIC_V1, 5, 5
		}, boot, true, true},
		{"FUSE, whose ctime comes from a program", func(b *board) {
			b.kind, b.stat.modified.nanoseconds, b.stat.changed.nanoseconds = unix.FUSE_SUPER_MAGIC, 5, 5
		}, boot, true, true},
		{"no device: a restart", anonymous, restart, false, true},
		{"no device: mounted again", anonymous, remount, true, true},
		{"no device: a boot", anonymous, boot, true, true},
		{"no device, an old kernel: a restart", all(anonymous, func(b *board) { b.mount = 0 }), restart, true, true},
		{"before Linux 5.15", without(partition + "/../diskseq"), restart, false, true},
		{"before Linux 5.15: mounted again", without(partition + "/../diskseq"), remount, true, true},
		{"no /proc: a restart", without(bootID), restart, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := slot(), slot()
			test.both(&a)
			test.both(&b)
			test.then(&b)
			x, y := a.of(), b.of()
			if len(x.hash) != 16 || len(y.hash) != 16 || x.image != test.date || y.image != test.date {
				t.Fatalf("%+v and %+v, want images: %v", x, y, test.date)
			}
			if (x.hash != y.hash) != test.differs {
				t.Errorf("%s and %s, want different: %v", x.hash, y.hash, test.differs)
			}
			if again := a.of(); again != x {
				t.Errorf("%+v, then %+v", x, again)
			}
		})
	}
}

// TestWrittenFilesHaveNoOrigin: the tag of a file whose ctime comes from a kernel consists of the
// file's identity alone, and of reads nothing for it.
func TestWrittenFilesHaveNoOrigin(t *testing.T) {
	for name, change := range map[string]func(*board){
		"written here":         func(b *board) { b.stat.modified.nanoseconds, b.stat.changed.nanoseconds = 5, 5 },
		"written, then linked": func(b *board) { b.stat.changed.nanoseconds = 5 },
		"file system unknown":  func(b *board) { b.kind = 0 },
	} {
		b := slot()
		b.kind = ext4Magic
		change(&b)
		b.files = maps.Clone(b.files)
		clear(b.files)
		if got := b.of(); got != (origin{}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	_, dir := tree(t)
	f := openFile(t, dir, "a.txt")
	defer f.Release()
	if f.stat.changed.nanoseconds != 0 && f.etag() != f.stat.etag() {
		t.Errorf("the tag is %s, the identity alone has %s", f.etag(), f.stat.etag())
	}
}

// TestDatesOfImagesAreNotTrusted: a date that may belong to another image neither causes a 304 nor
// resumes a download; the entity tag does both.
func TestDatesOfImagesAreNotTrusted(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "x"), []byte(alphabet), 0o644))
	must(t, os.Chtimes(filepath.Join(dir, "x"), time.Time{}, time.Unix(1_700_000_000, 0)))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	for _, from := range []origin{{}, {"0123456789abcdef", false}, {"0123456789abcdef", true}} {
		s := kernel()
		s.origin = func(int, identity) origin { return from }
		h := newHandler(root, Options{}, s)
		header := do(t, h, request("GET", "/x")).Header()
		tag, date := tagOf(header), header.Get("Last-Modified")
		if strings.HasSuffix(tag, `-0123456789abcdef"`) != (from.hash != "") || date == "" {
			t.Fatalf("%+v: %v", from, header)
		}
		status := func(header ...string) int { return do(t, h, request("GET", "/x", header...)).Code }
		got := fmt.Sprint(status("If-None-Match", tag), status("If-Range", tag, "Range", "bytes=1-"),
			status("If-Modified-Since", date), status("If-Range", date, "Range", "bytes=1-"))
		want := map[origin]string{{}: "304 206 304 206", {"0123456789abcdef", false}: "304 206 304 200", {"0123456789abcdef", true}: "304 206 200 200"}[from]
		if got != want {
			t.Errorf("%+v: %s, want %s", from, got, want)
		}
	}
}

// TestKernelOriginReadsThisKernel: boot ID, mount ID and file system can be read on this machine.
func TestKernelOriginReadsThisKernel(t *testing.T) {
	s := kernelOrigin()
	if boot, err := s.read(bootID); err != nil || len(boot) != 36 {
		t.Errorf("boot id %q, %v", boot, err)
	}
	f, err := os.Open(t.TempDir())
	must(t, err)
	defer f.Close()
	if id, err := s.mountID(int(f.Fd())); err != nil || id == 0 {
		t.Errorf("mount %d, %v", id, err)
	}
	if kind, _, err := s.statfs(int(f.Fd())); err != nil || kind == 0 {
		t.Errorf("file system %x, %v", kind, err)
	}
	long := filepath.Join(t.TempDir(), "long")
	must(t, os.WriteFile(long, make([]byte, 2*maxSmall), 0o644))
	if text, err := s.read(long); err != nil || len(text) != maxSmall {
		t.Errorf("%d bytes of a long file, %v", len(text), err)
	}
}
