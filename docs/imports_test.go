package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "uringhttpd"

// TestImportsMatchTheTable: each package imports exactly the packages of this module that the table in
// architecture.md lists for it.
func TestImportsMatchTheTable(t *testing.T) {
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([a-z0-9_./]+)`")
	want := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_./]+)` \\|[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(string(text), -1) {
		want[row[1]] = []string{}
		for _, m := range name.FindAllStringSubmatch(row[2], -1) {
			want[row[1]] = append(want[row[1]], m[1])
		}
	}
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = ".."
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if path == "" {
			path = "."
		}
		if path == "docs" || strings.HasPrefix(path, "docs/") || strings.HasPrefix(path, "test/") {
			continue
		}
		var got []string
		for _, i := range p.Imports {
			if rest, ok := strings.CutPrefix(i, module+"/"); ok {
				got = append(got, rest)
			}
		}
		allowed, ok := want[path]
		if !ok {
			t.Errorf("package %s is not in the table", path)
			continue
		}
		delete(want, path)
		slices.Sort(got)
		slices.Sort(allowed)
		if !slices.Equal(got, allowed) {
			t.Errorf("package %s imports %v, the table has %v", path, got, allowed)
		}
	}
	for path := range want {
		t.Errorf("the table has a package %s, which does not exist", path)
	}
}
