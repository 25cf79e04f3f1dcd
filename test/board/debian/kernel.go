package debian

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A Want describes a kernel: Series as in "6.12", or "6" for the newest of all of Linux 6;
// Flavour as in "amd64" or "armmp", for Debian's Architecture ("amd64", "armhf").
type Want struct {
	Architecture, Series, Flavour string
}

// A Kernel is a kernel unpacked in the cache.
type Kernel struct {
	Package string // name and version, joined by "_", such as linux-image-6.12.95+deb12-amd64_6.12.95-1~bpo12+1
	Release string // as in uname -r
	Image   string // path of the image that QEMU boots
	root    string // directory of the package
	modules string // directory of the modules, named after the release
}

// suites are searched in order; each has had every series of the boards, and over time an
// archive drops the older kernels of a suite.
var suites = []string{"bookworm-backports", "trixie", "bookworm", "trixie-backports"}

// layout is the version of the list kept. A change of kept must change layout, so that an
// older cache is not taken for complete.
const layout = "4"

// kept are the directories of the modules to keep, out of some hundred megabytes.
var kept = []string{
	"kernel/arch/", "kernel/crypto/", "kernel/lib/", "kernel/net/",
	"kernel/drivers/crypto/", "kernel/drivers/virtio/", "kernel/drivers/char/hw_random/",
	"kernel/drivers/char/virtio_console", "kernel/drivers/net/virtio_net", "kernel/drivers/net/net_failover",
	"kernel/drivers/net/veth", "kernel/drivers/net/ifb", "kernel/drivers/dma/", "kernel/drivers/soc/", "kernel/drivers/bus/",
	"kernel/drivers/net/ethernet/freescale/fec.ko", "kernel/drivers/gpio/gpio-mxc.ko", "kernel/drivers/net/mdio/", "kernel/drivers/net/phy/", "kernel/drivers/nvmem/",
	"kernel/drivers/block/virtio_blk.ko", "kernel/drivers/md/dm-mod.ko", "kernel/drivers/md/dm-delay.ko",
	"kernel/fs/ext4/", "kernel/fs/jbd2/", "kernel/fs/mbcache.ko",
}

// FetchKernel returns the kernel that pins.txt names, from the directory cache or, if absent
// there, from the archive. If the archive has dropped it, FetchKernel reports that on stderr and
// returns the newest matching kernel. Several processes may call it at once: one fetches, and
// the others wait.
func FetchKernel(ctx context.Context, cache string, want Want) (*Kernel, error) {
	p, err := pinned(pinsText, want.key())
	if err != nil {
		return nil, err
	}
	shelf := filepath.Join(cache, fmt.Sprintf("linux-%s-%s-%s", want.Series, want.Flavour, layout))
	if err := os.MkdirAll(shelf, 0o755); err != nil {
		return nil, fmt.Errorf("debian: cache: %w; name another directory", err)
	}
	unlock, err := lock(filepath.Join(shelf, "lock"))
	if err != nil {
		return nil, fmt.Errorf("debian: cache: %w", err)
	}
	defer unlock()
	if k, err := newest(shelf, p.name+"_*"); k != nil || err != nil {
		return k, err
	}
	// The file records that the archive has dropped the package.
	gone := filepath.Join(shelf, p.name+".dropped")
	var pinErr, newestErr error
	if _, err := os.Stat(gone); err != nil {
		if pinErr = fetch(ctx, shelf, want, p); pinErr == nil {
			return newest(shelf, p.name+"_*")
		}
		if ctx.Err() != nil {
			return nil, pinErr
		}
		if newestErr = fetch(ctx, shelf, want, pin{}); newestErr == nil && errors.Is(pinErr, errDropped) {
			if err := os.WriteFile(gone, nil, 0o644); err != nil {
				return nil, fmt.Errorf("debian: cache: %w", err)
			}
		}
	}
	k, err := newest(shelf, "linux-image-*_*")
	if k == nil {
		return nil, errors.Join(fmt.Errorf("debian: no Linux %s for %s could be fetched; is the network up?", want.Series, want.Architecture), err, pinErr, newestErr)
	}
	p.replaced(os.Stderr, k.Package)
	return k, nil
}

// errDropped is returned for a pinned package that the archive no longer has.
var errDropped = errors.New("debian: the archive has dropped the package")

// lock waits for the exclusive lock on a file.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, os.NewSyscallError("flock", err)
	}
	return func() { f.Close() }, nil
}

// newest returns the newest kernel on a shelf whose directory matches a pattern; nil if there
// is none.
func newest(shelf, pattern string) (*Kernel, error) {
	roots, err := filepath.Glob(filepath.Join(shelf, pattern))
	if err != nil || len(roots) == 0 {
		return nil, err
	}
	root := slices.MaxFunc(roots, func(a, b string) int { return compareVersions(filepath.Base(a), filepath.Base(b)) })
	image, err := findImage(root)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Package: filepath.Base(root), Image: image, root: root}
	var beside bool // the image is in the directory of the modules
	if k.Release, beside = strings.CutPrefix(filepath.Base(image), "vmlinuz-"); beside {
		k.modules = filepath.Join(root, "lib", "modules", k.Release)
	} else {
		k.modules = filepath.Dir(image)
		k.Release = filepath.Base(k.modules)
	}
	return k, nil
}

// findImage finds the only image below the root of a kernel's packages.
func findImage(root string) (string, error) {
	var images []string
	for _, place := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(place)))
		if err != nil {
			return "", err
		}
		images = append(images, found...)
	}
	if len(images) != 1 {
		return "", fmt.Errorf("debian: %s holds the images %q, want one", filepath.Base(root), images)
	}
	return images[0], nil
}

// DeviceTrees returns the paths of the device trees of all i.MX boards.
func (k *Kernel) DeviceTrees() ([]string, error) {
	var found []string
	err := filepath.WalkDir(k.trees(), func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = append(found, name)
		}
		return err
	})
	return found, err
}

func (k *Kernel) trees() string { return filepath.Join(k.root, "usr", "lib", "linux-image-"+k.Release) }

// DeviceTree returns the path of a device tree, such as freescale/imx8mp-evk.dtb.
func (k *Kernel) DeviceTree(name string) (string, error) {
	path := filepath.Join(k.trees(), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("debian: %s: device tree: %w; if the package has it, add its directory to kept", k.Package, err)
	}
	return path, nil
}

// fetch downloads a kernel into the shelf: the kernel of a pin or, if the pin is the zero
// value, the newest kernel of the first suite that has any.
func fetch(ctx context.Context, shelf string, want Want, p pin) error {
	m, err := findMirror("/etc/apt")
	if err != nil {
		return err
	}
	search := suites
	if p.name != "" {
		search = []string{p.suite}
	}
	var failures []error
	for _, suite := range search {
		err := fetchFrom(ctx, shelf, want, p.name, m, suite)
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", suite, err))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failures...)
}

// fetchFrom downloads a kernel from one suite: the package name, or the newest package if
// name is "".
func fetchFrom(ctx context.Context, shelf string, want Want, name string, m mirror, suite string) error {
	dir, err := os.MkdirTemp(shelf, "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	a, err := newApt(filepath.Join(dir, "apt"), want.Architecture, m, suite)
	if err != nil {
		return err
	}
	if err := a.update(ctx); err != nil {
		return err
	}
	names, err := a.names(ctx, "linux-")
	if err != nil {
		return err
	}
	if name != "" && !slices.Contains(names, name) {
		return errDropped
	}
	if name == "" {
		var ok bool
		if name, ok = pick(names, want); !ok {
			return fmt.Errorf("has no package linux-image-%s.*-%s", want.Series, want.Flavour)
		}
	}
	root := filepath.Join(dir, "root")
	base := ""
	for _, name := range append(parts(name, names), name) {
		deb, err := a.download(ctx, name)
		if err != nil {
			return err
		}
		if err := unpack(ctx, deb, root, keep); err != nil {
			return err
		}
		if err := os.Remove(deb); err != nil {
			return err
		}
		// NAME_VERSION_ARCHITECTURE.deb, where apt writes a colon as %3a.
		base = strings.TrimSuffix(filepath.Base(deb), "_"+want.Architecture+".deb")
	}
	if _, err := findImage(root); err != nil {
		return err
	}
	return os.Rename(root, filepath.Join(shelf, base))
}

// parts returns further packages with files of the kernel: since Linux 7 the image's package
// only depends on them.
func parts(image string, names []string) []string {
	release := strings.TrimSuffix(strings.TrimPrefix(image, "linux-image-"), "-unsigned")
	var all []string
	for _, kind := range []string{"linux-base-", "linux-binary-", "linux-modules-"} {
		if slices.Contains(names, kind+release) {
			all = append(all, kind+release)
		}
	}
	return all
}

// pick returns the newest kernel of the flavour; at the same version the signed package, which
// users install. Some releases number the builds of a series, as in 6.1.0-47. -rt, -cloud and
// -dbg do not match.
func pick(names []string, want Want) (string, bool) {
	match := regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(want.Series) + `\.[^-]+(-[0-9]+)?-` + regexp.QuoteMeta(want.Flavour) + `(-unsigned)?$`)
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !match.MatchString(name) })
	if len(names) == 0 {
		return "", false
	}
	return slices.MaxFunc(names, func(a, b string) int {
		plainA, plainB := strings.TrimSuffix(a, "-unsigned"), strings.TrimSuffix(b, "-unsigned")
		if c := compareVersions(plainA, plainB); c != 0 {
			return c
		}
		return len(b) - len(a)
	}), true
}

// compareVersions compares names that differ in numbers.
func compareVersions(a, b string) int {
	numbers := func(s string) []int {
		var ns []int
		for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
			n, err := strconv.Atoi(f)
			if err != nil {
				n = 0 // too long for a version
			}
			ns = append(ns, n)
		}
		return ns
	}
	return slices.Compare(numbers(a), numbers(b))
}

// unpack extracts the files of a package for which keep is true into root.
func unpack(ctx context.Context, deb, root string, keep func(name string) bool) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	untarErr := untar(out, root, keep)
	if untarErr != nil {
		// Drain the pipe, so that dpkg-deb ends by itself and its messages are kept.
		io.Copy(io.Discard, out)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("dpkg-deb --fsys-tarfile %s: %w: %s", deb, err, stderr.String())
	}
	return untarErr
}

func untar(r io.Reader, root string, keep func(name string) bool) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || !keep(name) {
			continue
		}
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the package holds %q, outside its root", h.Name)
		}
		dst := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644|h.FileInfo().Mode()&0o111)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, tr)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
}

func keep(name string) bool {
	if strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(name, "boot/config-") {
		return true
	}
	name = strings.TrimPrefix(name, "usr/") // merged /usr
	if strings.HasPrefix(name, "lib/linux-image-") {
		base := filepath.Base(name) // of i.MX boards, in any directory
		return strings.HasPrefix(base, "imx") && strings.HasSuffix(base, ".dtb")
	}
	rest, ok := strings.CutPrefix(name, "lib/modules/")
	if !ok {
		return false
	}
	_, rest, _ = strings.Cut(rest, "/")
	return rest == "vmlinuz" || strings.HasPrefix(rest, "modules.") || slices.ContainsFunc(kept, func(p string) bool { return strings.HasPrefix(rest, p) })
}
