//go:build debian

package debian

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const suite = "bookworm"

// packages are the packages of a small server, with systemd as init and curl as the client. The
// kernel is of the flavour for virtual machines, which has the drivers of NVMe and ext4 built in: it
// mounts its root without an initial RAM disk.
var packages = []string{"systemd", "systemd-sysv", "udev", "kmod", "curl", "linux-image-cloud-amd64"}

// An image is a bootable Debian root: its disk and kernel.
type image struct{ disk, kernel string }

// pack is a shell script that converts the archive $1 of the root to a disk, and writes disk and
// kernel to the directory $2. $3 is the unit that runs testdata/prove.sh.
const pack = `set -e
cd "$2"
mkdir root
tar -C root -xf "$1"
cp root/boot/vmlinuz-* kernel
rm -rf root/boot/* root/var/cache/apt/* root/var/lib/apt/lists/*
install -m 0644 "$3" root/etc/systemd/system/proof.service
mkdir -p root/etc/systemd/system/multi-user.target.wants
ln -s ../proof.service root/etc/systemd/system/multi-user.target.wants/
echo board > root/etc/hostname
mke2fs -q -t ext4 -d root disk 1G
rm -rf root
`

// debianImage returns the image. It is created on the first call and kept in the user's cache
// directory, under a name with a hash of its inputs.
func debianImage(t *testing.T) image {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	unit, err := filepath.Abs("testdata/proof.service")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(suite + strings.Join(packages, ",") + pack + string(text)))
	parent := filepath.Join(cache, "uringhttpd", "debian")
	dir := filepath.Join(parent, fmt.Sprintf("%s-%x", suite, sum[:6]))
	done := image{filepath.Join(dir, "disk"), filepath.Join(dir, "kernel")}
	if _, err := os.Stat(dir); err == nil {
		return done
	}

	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(parent, "making-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	archive := filepath.Join(work, "root.tar")
	t.Logf("creating a Debian root in %s, once", dir)
	// The variable tells initramfs-tools to create nothing.
	run(t, "env", "INITRD=No", "mmdebstrap", "--variant=minbase", "--include="+strings.Join(packages, ","),
		`--aptopt=Acquire::Languages "none"`, suite, archive)
	if os.Getuid() == 0 {
		run(t, "sh", "-c", pack, "sh", archive, work, unit)
	} else {
		run(t, "mmdebstrap", "--unshare-helper", "sh", "-c", pack, "sh", archive, work, unit)
	}
	if err := os.Remove(archive); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(work, dir); err != nil {
		t.Fatal(err)
	}
	return done
}

// run runs a program and fails the test with the end of its output.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out[max(0, len(out)-4000):])
	}
}
