//go:build yocto

package yocto

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	bitbakeDir = flag.String("bitbake", "", "a checkout of bitbake, of the branch that fits -oe-core")
	coreDir    = flag.String("oe-core", "", "a checkout of openembedded-core")
	account    = flag.String("user", "nobody", "the user that runs BitBake if the test runs as root, since BitBake does not run as root")
	unpack     = flag.Bool("unpack", false, "also fetch and unpack the source and its modules, from this machine's module cache, and build it")
)

// parseTimeout is the time limit for parsing openembedded-core on two slow cores.
const parseTimeout = 30 * time.Minute

// TestBitBakeParsesTheLayer: BitBake parses openembedded-core and the layer without an error or a
// warning, and without the network.
//
//	go test -tags yocto ./test/yocto -timeout 60m -bitbake DIR -oe-core DIR [-unpack]
//
// It needs BitBake's host tools (chrpath, diffstat, lz4, zstd, gawk, rpcgen,
// cpio, file, wget) and the locale en_US.UTF-8.
func TestBitBakeParsesTheLayer(t *testing.T) {
	b := newBuild(t)
	b.bitbake(t, "-p")
	b.expect(t, "linux-yocto", "SRC_URI", "file://uringhttpd.cfg", "file://uringhttpd-arm64.cfg")
}

// TestRecipeVariables checks the final variables of the recipe on 32 and 64 bits.
func TestRecipeVariables(t *testing.T) {
	b := newBuild(t)
	for _, machine := range []string{"qemuarm", "qemuarm64"} {
		b.machine = machine
		for name, want := range map[string][]string{
			"PN":               {"uringhttpd"},
			"CGO_ENABLED":      {"0"},
			"LICENSE":          {"Apache-2.0", "BSD-3-Clause", "MIT"},
			"SRC_URI":          {"git://" + b.checkout + ";protocol=file", ";destsuffix=", "/src/uringhttpd/", "gomod://golang.org/x/sys;"},
			"SYSTEMD_SERVICE":  {"uringhttpd.service"},
			"GOBUILDFLAGS":     {"-trimpath", "-X main.Version=0.1.0"},
			"CONFFILES":        {"/etc/uringhttpd/uringhttpd.yaml"},
			"GO_MOD_CACHE_DIR": {"/pkg/mod"},
		} {
			b.expect(t, "uringhttpd", name, want...)
		}
		if flags := b.variable(t, "uringhttpd", "GOBUILDFLAGS"); strings.Contains(flags, "pie") {
			t.Errorf("%s: GOBUILDFLAGS=%q builds a PIE, which needs cgo on 32-bit ARM", machine, flags)
		}
	}
	if *unpack {
		b.build(t)
	}
}

// build is a BitBake build directory beside a copy of the checkout.
type build struct {
	dir      string // the build directory
	checkout string // a clone of this repository, owned by the user that runs BitBake
	machine  string
	as       *syscall.Credential // nil: as the test itself
	cache    map[string]map[string]string
}

func newBuild(t *testing.T) *build {
	t.Helper()
	if *bitbakeDir == "" || *coreDir == "" {
		t.Fatal("-bitbake and -oe-core are required: the directories of the checkouts")
	}
	root := t.TempDir()
	b := &build{
		dir:      filepath.Join(root, "build"),
		checkout: filepath.Join(root, "checkout"),
		machine:  "qemuarm64",
		cache:    make(map[string]map[string]string),
	}
	run(t, "git", "clone", "-q", "--no-hardlinks", top, b.checkout)
	// The layer may have changes that are not committed.
	run(t, "rm", "-rf", filepath.Join(b.checkout, "yocto"))
	run(t, "cp", "-R", top+"/yocto", filepath.Join(b.checkout, "yocto"))

	conf := filepath.Join(b.dir, "conf")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	core, err := filepath.Abs(*coreDir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(conf, "bblayers.conf"), fmt.Sprintf(
		"BBPATH = \"${TOPDIR}\"\nBBFILES = \"\"\nBBLAYERS = \"%s/meta %s/yocto/meta-uringhttpd\"\n", core, b.checkout))
	write(t, filepath.Join(conf, "local.conf"), `CONF_VERSION = "2"
MACHINE ??= "qemuarm64"
INIT_MANAGER = "systemd"
DISTRO_FEATURES:append = " uringhttpd"
BB_NO_NETWORK = "1"
CONNECTIVITY_CHECK_URIS = ""
BB_NUMBER_PARSE_THREADS = "2"
INHERIT:remove = "uninative create-spdx"
`)
	if os.Getuid() == 0 {
		b.as = credential(t)
		for dir := root; dir != filepath.Dir(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
			if dir != os.TempDir() {
				run(t, "chmod", "755", dir)
			}
		}
		run(t, "chown", "-R", fmt.Sprintf("%d:%d", b.as.Uid, b.as.Gid), root)
	}
	return b
}

func credential(t *testing.T) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(*account)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// bitbake runs BitBake in the build directory and returns its output. An ERROR or WARNING in the output
// fails the test.
func (b *build) bitbake(t *testing.T, args ...string) string {
	t.Helper()
	tool, err := filepath.Abs(filepath.Join(*bitbakeDir, "bin", "bitbake"))
	if err != nil {
		t.Fatal(err)
	}
	core, err := filepath.Abs(*coreDir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(deadline(t), tool, args...)
	cmd.Dir = b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.as}
	// A PATH without the shims of version managers, which need a writable home directory.
	cmd.Env = []string{
		"PATH=" + filepath.Dir(tool) + ":" + core + "/scripts:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + b.dir, "LANG=en_US.UTF-8", "LC_ALL=en_US.UTF-8",
		"BBPATH=" + b.dir, "BUILDDIR=" + b.dir, "MACHINE=" + b.machine,
		"BB_ENV_PASSTHROUGH_ADDITIONS=MACHINE",
	}
	start := time.Now()
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("bitbake %s: %v\n%s", strings.Join(args, " "), err, tail(text))
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "WARNING: Buildfile specified") {
			continue // intended, see target
		}
		if strings.HasPrefix(line, "ERROR:") || strings.HasPrefix(line, "WARNING:") {
			t.Errorf("bitbake %s: %s", strings.Join(args, " "), line)
		}
	}
	t.Logf("bitbake %s (%s): %v\n%s", strings.Join(args, " "), b.machine, time.Since(start).Round(time.Second), summary(text))
	return text
}

// target returns the arguments that name a recipe to BitBake. For this layer's recipe it is the file:
// with a name BitBake parses all recipes again for each machine. With a file it ignores appends, which
// matter for other recipes.
func (b *build) target(name string) []string {
	if name == "uringhttpd" {
		return []string{"-b", filepath.Join(b.checkout, "yocto/meta-uringhttpd/recipes-httpd/uringhttpd/uringhttpd_git.bb")}
	}
	return []string{name}
}

// variable returns the final value of a recipe's variable.
func (b *build) variable(t *testing.T, recipe, name string) string {
	t.Helper()
	key := b.machine + " " + recipe
	if b.cache[key] == nil {
		b.cache[key] = make(map[string]string)
		for line := range strings.Lines(b.bitbake(t, append([]string{"-e"}, b.target(recipe)...)...)) {
			line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "export ")
			name, value, found := strings.Cut(line, "=\"")
			if found && !strings.ContainsAny(name, " #") {
				b.cache[key][strings.TrimSuffix(name, ":"+recipe)] = strings.TrimSuffix(value, "\"")
			}
		}
	}
	return b.cache[key][name]
}

func (b *build) expect(t *testing.T, recipe, name string, want ...string) {
	t.Helper()
	got := b.variable(t, recipe, name)
	for _, part := range want {
		if !strings.Contains(got, part) {
			t.Errorf("%s, %s: %s=%q, want %q in it", b.machine, recipe, name, got, part)
		}
	}
}

// build makes BitBake fetch and unpack the sources of the recipe from a download directory with the
// modules of this machine's cache, and verify their checksums. Then it builds the program, as the recipe
// does, from the unpacked files only.
func (b *build) build(t *testing.T) {
	t.Helper()
	own, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	downloads := filepath.Join(b.dir, "downloads")
	for _, uri := range strings.Fields(b.variable(t, "uringhttpd", "SRC_URI")) {
		module, found := strings.CutPrefix(uri, "gomod://")
		if !found {
			continue
		}
		module, parameters, _ := strings.Cut(module, ";")
		version := strings.TrimPrefix(strings.Split(parameters, ";")[0], "version=")
		ext := ".zip"
		if strings.Contains(parameters, ";mod=1") {
			ext = ".mod"
		}
		data := read(t, filepath.Join(strings.TrimSpace(string(own)), "cache", "download", escape(module), "@v", escape(version)+ext))
		if err := os.MkdirAll(downloads, 0o777); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(downloads, strings.ReplaceAll(module, "/", ".")+"@"+version+ext), string(data))
	}
	if b.as != nil {
		run(t, "chown", "-R", fmt.Sprintf("%d:%d", b.as.Uid, b.as.Gid), downloads)
	}
	b.bitbake(t, append([]string{"-c", "unpack"}, b.target("uringhttpd")...)...)

	source := filepath.Join(b.variable(t, "uringhttpd", "S"), "src", "uringhttpd")
	for _, arch := range []string{"arm64", "arm"} {
		cmd := exec.Command("go", "build", "-trimpath", "-modcacherw", "-buildvcs=false", "-o", os.DevNull, ".")
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GOPROXY=off", "GOFLAGS=", "GOWORK=off",
			"GOTOOLCHAIN=local", "GOMODCACHE="+b.variable(t, "uringhttpd", "GOMODCACHE"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go build for %s from the unpacked files: %v\n%s", arch, err, out)
		}
	}
}
