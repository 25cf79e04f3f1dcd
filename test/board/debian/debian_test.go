package debian

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindMirrorReadsSources(t *testing.T) {
	const key = "/usr/share/keyrings/debian-archive-keyring.gpg"
	tests := []struct {
		name  string
		files map[string]string
		want  mirror
	}{
		{"one line", map[string]string{
			"sources.list": "# comment\ndeb http://mirror.example/debian bookworm main contrib\n",
		}, mirror{uri: "http://mirror.example/debian"}},
		{"options", map[string]string{
			"sources.list": "deb [ arch=amd64,armhf signed-by=" + key + " ] http://mirror.example/debian bookworm main # why\n",
		}, mirror{uri: "http://mirror.example/debian", signedBy: key}},
		{"others first", map[string]string{
			"sources.list": "deb-src http://src.example/debian bookworm main\n" +
				"deb http://security.example/debian-security bookworm-security main\n" +
				"deb cdrom:[Debian]/ bookworm main\n" +
				"deb http://tool.example/apt tool-bookworm main\n" +
				"deb http://mirror.example/debian bookworm-updates main\n",
		}, mirror{uri: "http://mirror.example/debian"}},
		{"stanzas", map[string]string{
			"sources.list.d/debian.sources": "Types: deb\n# comment\nURIs: http://mirror.example/debian http://second.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: " + key + "\n\nTypes: deb\nURIs: http://security.example/debian-security\nSuites: bookworm-security\nComponents: main\n",
		}, mirror{uri: "http://mirror.example/debian", signedBy: key}},
		{"a stanza that is off", map[string]string{
			"sources.list.d/a.sources": "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
			"sources.list.d/b.sources": "types: deb\nuris: http://on.example/debian\nsuites: bookworm\ncomponents: main\n",
		}, mirror{uri: "http://on.example/debian"}},
		{"keys in the stanza", map[string]string{
			"sources.list.d/a.sources": "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n",
		}, mirror{uri: "http://mirror.example/debian", signedBy: "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeFiles(t, tt.files)
			got, err := findMirror(dir)
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	if m, err := findMirror(t.TempDir()); err == nil || !strings.Contains(err.Error(), "add one") {
		t.Errorf("without sources: got %+v, %v, want advice", m, err)
	}
}

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPickNewestSigned(t *testing.T) {
	names := []string{
		"linux-image-6.12.95+deb12-amd64-dbg", "linux-image-6.12.95+deb12-amd64-unsigned",
		"linux-image-6.12.95+deb12-rt-amd64", "linux-image-6.12.95+deb12-cloud-amd64",
		"linux-image-6.12.9+deb12-amd64", "linux-image-6.12.95+deb12-amd64", "linux-image-6.12.90+deb12.1-amd64",
		"linux-image-6.12.96+deb12-armmp-lpae", "linux-image-6.12.94+deb12-armmp", "linux-image-6.13.1+deb12-amd64",
	}
	tests := []struct {
		name  string
		names []string
		want  Want
		got   string
	}{
		{"newest and signed", names, Want{Series: "6.12", Flavour: "amd64"}, "linux-image-6.12.95+deb12-amd64"},
		{"another flavour", names, Want{Series: "6.12", Flavour: "armmp"}, "linux-image-6.12.94+deb12-armmp"},
		{"unsigned if newer", append([]string{"linux-image-6.12.99+deb12-amd64-unsigned"}, names...), Want{Series: "6.12", Flavour: "amd64"}, "linux-image-6.12.99+deb12-amd64-unsigned"},
		{"none", names, Want{Series: "6.1", Flavour: "amd64"}, ""},
		{"numbered builds", []string{"linux-image-6.1.0-9-amd64", "linux-image-6.1.0-47-amd64", "linux-image-6.1.0-48-rt-amd64", "linux-image-6.1.0-48-amd64-dbg"}, Want{Series: "6.1", Flavour: "amd64"}, "linux-image-6.1.0-47-amd64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := pick(tt.names, tt.want); got != tt.got || ok != (tt.got != "") {
				t.Errorf("got %q, %t, want %q", got, ok, tt.got)
			}
		})
	}
}

func TestKeepsFilesOfBoards(t *testing.T) {
	tests := []struct {
		name string
		want bool
	}{
		{"boot/vmlinuz-6.12.1", true},
		{"boot/System.map-6.12.1", false},
		{"lib/modules/6.12.1/modules.builtin", true},
		{"usr/lib/modules/6.12.1/kernel/net/tls/tls.ko.xz", true},
		{"lib/modules/6.12.1/kernel/drivers/gpu/drm/drm.ko.xz", false},
		{"usr/share/doc/linux-image/copyright", false},
		{"usr/lib/linux-image-6.12.1-arm64/freescale/imx8mp-evk.dtb", true},
		{"usr/lib/linux-image-6.12.1-armmp/imx6q-sabrelite.dtb", true},
		{"usr/lib/linux-image-6.12.1-arm64/freescale/fsl-ls1012a-rdb.dtb", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := keep(tt.name); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

// TestCachedKernelNeedsNoArchive: the pinned kernel is taken from the cache without apt, and
// if neither the cache nor the archive has it, the newest kernel of the cache is used.
func TestCachedKernelNeedsNoArchive(t *testing.T) {
	want := Want{Architecture: "amd64", Series: "6.12", Flavour: "amd64"}
	p, err := pinned(pinsText, want.key())
	if err != nil {
		t.Fatal(err)
	}
	const shelf = "linux-6.12-amd64-" + layout + "/"
	files := map[string]string{
		shelf + "linux-image-6.12.9_6.12.9-1/boot/vmlinuz-6.12.9-amd64":                               "old",
		shelf + "linux-image-6.12.1000_6.12.1000-1/boot/vmlinuz-6.12.1000-amd64":                      "new",
		shelf + "linux-image-6.12.1000_6.12.1000-1/lib/modules/6.12.1000-amd64/modules.builtin":       "kernel/crypto/ctr.ko\n",
		shelf + "linux-image-6.12.1000_6.12.1000-1/lib/modules/6.12.1000-amd64/kernel/net/tls/tls.ko": "not an object file",
	}
	t.Setenv("PATH", t.TempDir()) // no apt there
	k, err := FetchKernel(t.Context(), writeFiles(t, files), want)
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != "6.12.1000-amd64" || k.Package != "linux-image-6.12.1000_6.12.1000-1" {
		t.Errorf("without the pinned kernel: got %+v, want 6.12.1000", k)
	}
	if mods, err := k.Modules(t.Context(), "ctr"); err != nil || len(mods) != 0 {
		t.Errorf("a built-in module: got %v, %v, want none", mods, err)
	}
	if _, err := k.Modules(t.Context(), "absent-module"); err == nil || !strings.Contains(err.Error(), "absent_module") {
		t.Errorf("an absent module: %v", err)
	}
	if _, err := k.Modules(t.Context(), "tls"); err == nil {
		t.Error("a damaged module: no error")
	}
	files[shelf+p.name+"_1/boot/vmlinuz-6.12.95-amd64"] = "pinned"
	k, err = FetchKernel(t.Context(), writeFiles(t, files), want)
	if err != nil || k.Package != p.name+"_1" {
		t.Errorf("got %+v, %v, want the pinned %s", k, err, p.name)
	}
}

func TestPinsName(t *testing.T) {
	all, err := parsePins(pinsText)
	if err != nil || len(all) == 0 {
		t.Fatalf("%d pins, %v", len(all), err)
	}
	for _, p := range all {
		if !strings.Contains(pinsText, p.line()) {
			t.Errorf("%s: make pins would not find the line, which needs one tab between fields", p.key)
		}
		want, kernel := wantOf(p.key)
		if kernel {
			if name, ok := pick([]string{p.name}, want); !ok || p.version != "" {
				t.Errorf("%s: %s %s is not such a kernel (%s)", p.key, p.name, p.version, name)
			}
		} else if name, _, _ := strings.Cut(p.key, "/"); name != p.name || p.version == "" {
			t.Errorf("%s: got %s %s", p.key, p.name, p.version)
		}
	}
	for _, bad := range []string{"a b\n", "a/b c d=1\na/b c d=2\n"} {
		if all, err := parsePins(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, all)
		}
	}
	if p, err := pinned(pinsText, "linux/m68k/2.6/amiga"); err == nil || !strings.Contains(err.Error(), "make pins") {
		t.Errorf("got %v, %v, want advice", p, err)
	}
}

func TestUnusableCacheIsReported(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FetchKernel(t.Context(), file, Want{Architecture: "amd64", Series: "6.12", Flavour: "amd64"}); err == nil || !strings.Contains(err.Error(), "another directory") {
		t.Errorf("got %v, want advice", err)
	}
}

func TestCompareVersionsComparesNumbers(t *testing.T) {
	got := []string{"6.12.95+deb12", "6.12.9+deb12", "6.12.90+deb12.1", "6.12.90+deb12"}
	slices.SortFunc(got, compareVersions)
	want := []string{"6.12.9+deb12", "6.12.90+deb12", "6.12.90+deb12.1", "6.12.95+deb12"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeaderPackagesMatchRelease(t *testing.T) {
	tests := []struct {
		want              Want
		release           string
		headers, programs []string
	}{
		{Want{Series: "6.12", Flavour: "armmp"}, "6.12.95+deb12-armmp",
			[]string{"linux-headers-6.12.95+deb12-armmp", "linux-headers-6.12.95+deb12-common"},
			[]string{"linux-kbuild-6.12.95+deb12", "linux-kbuild-6.12"}},
		{Want{Series: "6.1", Flavour: "amd64"}, "6.1.0-50-amd64",
			[]string{"linux-headers-6.1.0-50-amd64", "linux-headers-6.1.0-50-common"},
			[]string{"linux-kbuild-6.1.0-50", "linux-kbuild-6.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.release, func(t *testing.T) {
			headers, programs := headerPackages(tt.want, tt.release)
			if !slices.Equal(headers, tt.headers) || !slices.Equal(programs, tt.programs) {
				t.Errorf("got %q and %q, want %q and %q", headers, programs, tt.headers, tt.programs)
			}
		})
	}
}
