package yocto

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write the recipe's lists of modules and licences")

const (
	top    = "../.."
	recipe = top + "/yocto/meta-uringhttpd/recipes-httpd/uringhttpd/"
	notice = "# Made from go.mod and go.sum by: go test ./test/yocto -update\n\n"
)

// licences are the licences of the linked modules, by the MD5 of their LICENSE files. A person has read
// each one; add a licence only after reading it.
var licences = map[string][]string{
	"19cbd64715b51267a47bf3750cc6a8a5": {"Apache-2.0"},        // go-systemd
	"7998cb338f82d15c0eff93b7004d272a": {"BSD-3-Clause"},      // golang.org/x
	"3c91c17266710e16afdbb2b6d15c761c": {"Apache-2.0", "MIT"}, // yaml.v3: MIT for the parts from libyaml
}

// projectLicence is the licence of this project, which the recipe itself names.
const projectLicence = "Apache-2.0"

// TestRecipeListsModulesAndLicences: the recipe fetches exactly the modules that a build needs, and has
// their licences.
func TestRecipeListsModulesAndLicences(t *testing.T) {
	cache := t.TempDir()
	linked := make(map[string]string) // directory in the cache by "path@version"
	for _, arch := range []string{"amd64", "arm64", "arm"} {
		list(t, cache, arch, linked)
	}
	compare(t, "uringhttpd-go-mods.inc", modulesInc(t, cache))
	compare(t, "uringhttpd-licenses.inc", licencesInc(t, linked))
}

// list makes the go command fill cache with the modules for a build of the daemon for arch, and adds
// the modules of its packages to linked.
func list(t *testing.T, cache, arch string, linked map[string]string) {
	t.Helper()
	own, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	cmd := exec.Command("go", "list", "-deps", "-json=Module", ".")
	cmd.Dir = top
	cmd.Env = append(os.Environ(),
		"GOARCH="+arch, "GOOS=linux", "CGO_ENABLED=0", "GOWORK=off", "GOTOOLCHAIN=local",
		"GOMODCACHE="+cache, "GOFLAGS=-mod=readonly -modcacherw",
		"GOPROXY=file://"+filepath.Join(strings.TrimSpace(string(own)), "cache", "download"),
		"GONOPROXY=none", "GOSUMDB=off", // go.sum is the check
	)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v\n%s\nIf a module is missing, go mod download fetches it.", arch, err, stderr.String())
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var pkg struct {
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if m := pkg.Module; m != nil && !m.Main {
			linked[m.Path+"@"+m.Version] = m.Dir
		}
	}
}

// modulesInc returns the content of uringhttpd-go-mods.inc: for each module in cache its zip, which
// contains its go.mod, or the go.mod alone.
func modulesInc(t *testing.T, cache string) string {
	t.Helper()
	download := filepath.Join(cache, "cache", "download")
	var uris []string
	err := filepath.WalkDir(download, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Base(filepath.Dir(path)) != "@v" {
			return err
		}
		ext := filepath.Ext(path)
		version := strings.TrimSuffix(filepath.Base(path), ext)
		var alone string
		switch {
		case ext == ".zip":
		case ext == ".mod" && !exists(strings.TrimSuffix(path, ext)+".zip"):
			alone = "mod=1;"
		default:
			return nil
		}
		module, err := filepath.Rel(download, filepath.Dir(filepath.Dir(path)))
		if err != nil {
			return err
		}
		uris = append(uris, fmt.Sprintf("gomod://%s;version=%s;%ssha256sum=%x",
			unescape(module), unescape(version), alone, sha256.Sum256(read(t, path))))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(uris)
	return notice + "SRC_URI += \"\\\n    " + strings.Join(uris, " \\\n    ") + " \\\n\"\n"
}

// licencesInc returns the content of uringhttpd-licenses.inc: the licences of the linked modules, and
// the paths of their texts after BitBake has unpacked the modules.
func licencesInc(t *testing.T, linked map[string]string) string {
	t.Helper()
	var names, files []string
	for module, dir := range linked {
		sum := fmt.Sprintf("%x", md5.Sum(read(t, filepath.Join(dir, "LICENSE"))))
		known, ok := licences[sum]
		if !ok {
			t.Fatalf("%s: the LICENSE with MD5 %s is unknown here; read %s and add it to the table of this test", module, sum, filepath.Join(dir, "LICENSE"))
		}
		for _, name := range known {
			if name != projectLicence && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		files = append(files, fmt.Sprintf("file://pkg/mod/%s/LICENSE;md5=%s;spdx=%s",
			escape(module), sum, url.QueryEscape(strings.Join(known, " & "))))
	}
	slices.Sort(names)
	slices.Sort(files)
	var b strings.Builder
	b.WriteString(notice)
	for _, name := range names {
		fmt.Fprintf(&b, "LICENSE += \"& %s\"\n", name)
	}
	b.WriteString("\nLIC_FILES_CHKSUM += \"\\\n    " + strings.Join(files, " \\\n    ") + " \\\n\"\n")
	return b.String()
}

// TestRecipeHasTheLicenceChecksum: the recipe has the MD5 of the repository's LICENSE.
func TestRecipeHasTheLicenceChecksum(t *testing.T) {
	want := fmt.Sprintf("file://src/${GO_IMPORT}/LICENSE;md5=%x", md5.Sum(read(t, top+"/LICENSE")))
	if !strings.Contains(string(read(t, recipe+"uringhttpd_git.bb")), want) {
		t.Errorf("uringhttpd_git.bb lacks %q", want)
	}
}

// TestRecipeInstallsEachUnitFile: each file that the recipe takes from the source exists, and the recipe
// installs each file of systemd/ except the sysusers file, since an image has the user from its build.
func TestRecipeInstallsEachUnitFile(t *testing.T) {
	text := string(read(t, recipe+"uringhttpd_git.bb"))
	entries, err := os.ReadDir(top + "/systemd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if filepath.Ext(name) == ".go" || name == "uringhttpd.sysusers" {
			continue
		}
		if !strings.Contains(text, "$source/systemd/"+name) {
			t.Errorf("uringhttpd_git.bb does not install systemd/%s", name)
		}
	}
	for _, word := range strings.Fields(text) {
		if name, found := strings.CutPrefix(word, "$source/"); found && !exists(filepath.Join(top, name)) {
			t.Errorf("uringhttpd_git.bb installs %s, which does not exist", name)
		}
	}
}

func compare(t *testing.T, name, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(recipe+name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := string(read(t, recipe+name)); got != want {
		t.Errorf("%s does not match go.mod; run: go test ./test/yocto -update\n--- is\n%s--- should be\n%s", name, got, want)
	}
}

// escape encodes capital letters as the module cache does (golang.org/x/mod/module).
func escape(path string) string {
	var b strings.Builder
	for _, r := range path {
		if unicode.IsUpper(r) {
			b.WriteByte('!')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func unescape(path string) string {
	var b strings.Builder
	upper := false
	for _, r := range path {
		if r == '!' {
			upper = true
			continue
		}
		if upper {
			r = unicode.ToUpper(r)
		}
		upper = false
		b.WriteRune(r)
	}
	return b.String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
