//go:build netns

package netns

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/files"
)

// An imageKind is a file system image with its mount options.
type imageKind struct {
	name string
	// make writes an image of the directory dir, in which all timestamps are firmwareDate.
	make func(t *testing.T, dir, image string)
	// options are the mount options.
	options string
}

// firmware is the name of the file in the images; all its timestamps are firmwareDate.
const firmware = "fw.raucb"

var firmwareDate = time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)

var imageKinds = []imageKind{
	{"squashfs", squashfs, "ro"},
	{"erofs", func(t *testing.T, dir, image string) {
		run(t, "mkfs.erofs", "-T", fmt.Sprint(firmwareDate.Unix()), "-U", "00000000-0000-0000-0000-000000000001", image, dir)
	}, "ro"},
	{"ext4, read-only", ext4("256"), "ro"},
	{"ext4", ext4("256"), "rw"},
	{"ext4 without fractions", ext4("128"), "rw"},
}

func squashfs(t *testing.T, dir, image string) {
	seconds := fmt.Sprint(firmwareDate.Unix())
	run(t, "mksquashfs", dir, image, "-quiet", "-no-progress", "-all-time", seconds, "-mkfs-time", seconds)
}

func ext4(inode string) func(t *testing.T, dir, image string) {
	return func(t *testing.T, dir, image string) {
		run(t, "mke2fs", "-q", "-t", "ext4", "-I", inode, "-d", dir, image, "8M")
		run(t, "debugfs", "-w", "-R", "set_inode_field /"+firmware+" ctime "+firmwareDate.Format("20060102150405"), image)
		if inode != "128" {
			run(t, "debugfs", "-w", "-R", "set_inode_field /"+firmware+" ctime_extra 0", image)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v, %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// makeImages returns two images that differ only in the content of the file.
func makeImages(t *testing.T, kind imageKind) (a, b string) {
	t.Helper()
	work := t.TempDir()
	for _, content := range []string{"a", "b"} {
		dir := filepath.Join(work, content)
		name := filepath.Join(dir, firmware)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytes.Repeat([]byte(content), 100_000), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{name, dir} {
			if err := os.Chtimes(path, firmwareDate, firmwareDate); err != nil {
				t.Fatal(err)
			}
		}
		kind.make(t, dir, filepath.Join(work, content+".img"))
	}
	return filepath.Join(work, "a.img"), filepath.Join(work, "b.img")
}

// mountAt mounts source at target, and returns a function that unmounts it.
func mountAt(t *testing.T, source, target string, options ...string) (unmount func()) {
	t.Helper()
	run(t, "mount", append(options, source, target)...)
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			run(t, "umount", target)
		}
	}
	t.Cleanup(unmount)
	return unmount
}

// A served is the response for the firmware file, and the file's attributes.
type served struct {
	tag, date string
	content   byte
	stat      string // inode, size, mtime and ctime
}

// serve answers a request for the firmware in dir with a new handler, as after a restart of the
// service.
func serve(t *testing.T, dir string, header ...string) (served, int) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r := httptest.NewRequest("GET", "/"+firmware, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	files.New(root, files.Options{}).ServeHTTP(w, r)
	var s unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, firmware), &s); err != nil {
		t.Fatal(err)
	}
	got := served{date: w.Header().Get("Last-Modified"), stat: fmt.Sprint(s.Ino, s.Size, s.Mtim, s.Ctim)}
	//lint:ignore SA1008 the product spells it so
	if tags := w.Header()["ETag"]; len(tags) == 1 {
		got.tag = tags[0]
	}
	if body := w.Body.Bytes(); len(body) > 0 {
		got.content = body[len(body)-1]
	}
	return got, w.Code
}

// get returns the response with the whole file.
func get(t *testing.T, dir string) served {
	t.Helper()
	s, status := serve(t, dir)
	if status != http.StatusOK || s.tag == "" {
		t.Fatalf("status %d, %+v", status, s)
	}
	return s
}

// swapped fails the test unless the files before and after a swap of images have the same attributes
// and different tags. On a read-only mount a date must not cause a 304.
func swapped(t *testing.T, dir string, before, after served, options string) {
	t.Helper()
	if before.content == after.content || before.stat != after.stat || before.date != after.date {
		t.Fatalf("the attributes differ, so the test is void: %+v, then %+v", before, after)
	}
	if before.tag == after.tag {
		t.Errorf("the tag of both is %s", before.tag)
	}
	conditions := [][]string{
		{"If-None-Match", before.tag},
		{"If-Range", before.tag, "Range", "bytes=50000-"},
		{"If-Range", before.date, "Range", "bytes=50000-"},
	}
	if options == "ro" {
		conditions = append(conditions, []string{"If-Modified-Since", before.date})
	}
	for _, header := range conditions {
		if _, status := serve(t, dir, header...); status != http.StatusOK {
			t.Errorf("%q: status %d", header, status)
		}
	}
	if _, status := serve(t, dir, "If-None-Match", after.tag); status != http.StatusNotModified {
		t.Errorf("the new tag: status %d", status)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root, to mount images from loop devices")
	}
}

// TestSwappedImageGetsAnotherTag: after another image is mounted, a file with the same inode, size and
// times has another tag. The same image keeps its tag over a restart of the service.
func TestSwappedImageGetsAnotherTag(t *testing.T) {
	needRoot(t)
	for _, kind := range imageKinds {
		t.Run(kind.name, func(t *testing.T) {
			a, b := makeImages(t, kind)
			where := t.TempDir()
			unmount := mountAt(t, a, where, "-o", "loop,"+kind.options)
			before := get(t, where)
			if again := get(t, where); again != before {
				t.Errorf("after a restart %+v, before %+v", again, before)
			}
			unmount()
			defer mountAt(t, b, where, "-o", "loop,"+kind.options)()
			swapped(t, where, before, get(t, where), kind.options)
		})
	}
}

// TestRewrittenDeviceGetsAnotherTag: another image is written to the same block device, as an update
// of the inactive slot does.
func TestRewrittenDeviceGetsAnotherTag(t *testing.T) {
	needRoot(t)
	for _, kind := range imageKinds {
		if kind.options != "ro" {
			continue // for a writable file system the tag does not depend on the sectors written
		}
		t.Run(kind.name, func(t *testing.T) {
			a, b := makeImages(t, kind)
			device := run(t, "losetup", "--find", "--show", a)
			t.Cleanup(func() { run(t, "losetup", "--detach", device) })
			where := t.TempDir()
			unmount := mountAt(t, device, where, "-o", kind.options)
			before := get(t, where)
			unmount()
			run(t, "dd", "if="+b, "of="+device, "bs=64k", "conv=fsync")
			defer mountAt(t, device, where, "-o", kind.options)()
			swapped(t, where, before, get(t, where), kind.options)
		})
	}
}

// TestSwappedImageBelowOverlayGetsAnotherTag: an overlay file system has no block device, so the tag
// depends on the mount.
func TestSwappedImageBelowOverlayGetsAnotherTag(t *testing.T) {
	needRoot(t)
	a, b := makeImages(t, imageKinds[0])
	lower, upper, where := t.TempDir(), t.TempDir(), t.TempDir()
	defer mountAt(t, "tmpfs", upper, "-t", "tmpfs")()
	for _, dir := range []string{"up", "work"} {
		if err := os.Mkdir(filepath.Join(upper, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stack := func(image string) func() {
		below := mountAt(t, image, lower, "-o", "loop,ro")
		above := mountAt(t, "overlay", where, "-t", "overlay",
			"-o", fmt.Sprintf("lowerdir=%s,upperdir=%s/up,workdir=%s/work", lower, upper, upper))
		return func() { above(); below() }
	}
	unstack := stack(a)
	before := get(t, where)
	if again := get(t, where); again != before {
		t.Errorf("after a restart %+v, before %+v", again, before)
	}
	unstack()
	defer stack(b)()
	swapped(t, where, before, get(t, where), "ro")
}

// TestTagSurvivesOtherWritesToTheDevice: if only the mount of the service is read-only, as with
// ProtectSystem=strict, the tag of a file stays the same when other processes write to the device.
func TestTagSurvivesOtherWritesToTheDevice(t *testing.T) {
	needRoot(t)
	image, _ := makeImages(t, imageKinds[3])
	where, own := t.TempDir(), t.TempDir()
	defer mountAt(t, image, where, "-o", "loop,rw")()
	defer mountAt(t, where, own, "--bind")()
	run(t, "mount", "-o", "remount,bind,ro", own)
	before := get(t, own)
	if err := os.WriteFile(filepath.Join(where, "other"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "sync", "-f", where)
	if after := get(t, own); after != before {
		t.Errorf("%+v, then %+v", before, after)
	}
}
