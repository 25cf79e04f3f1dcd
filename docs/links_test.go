// Package docs is the documentation; it has only tests: go test ./docs
package docs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinksInMarkdownExist: each local link in the repository's Markdown leads to an existing file, and
// to an existing heading if it names one.
func TestLinksInMarkdownExist(t *testing.T) {
	pages := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "build" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		pages++
		if err := broken(path); err != nil {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages < 10 {
		t.Errorf("only %d pages were found", pages)
	}
}

// TestBrokenLinksAreFound tests the check itself.
func TestBrokenLinksAreFound(t *testing.T) {
	for _, e := range []struct {
		name, text string
		ok         bool
	}{
		{"a file", "[a](other.md) and ![b](other.md)", true},
		{"headings", "# First, now?\n## `x` and y_z\n[a](#first-now) [b](other.md#top) [c](#x-and-y_z)", true},
		{"another host", "[a](https://example.org/none#where)", true},
		{"code is not a link", "    f[i](none)\n\n```\n[a](none)\n```\n`[a](none)`", true},
		{"no file", "[a](none.md)", false},
		{"no picture", "![a](none.svg)", false},
		{"a text over two lines", "[a\nb](none.md)", false},
		{"no heading here", "# Top\n[a](#bottom)", false},
		{"no heading there", "[a](other.md#bottom)", false},
		{"a heading that is code", "    # bottom\n\n[a](#bottom)", false},
	} {
		t.Run(e.name, func(t *testing.T) {
			dir := t.TempDir()
			page := filepath.Join(dir, "page.md")
			if err := errors.Join(
				os.WriteFile(page, []byte(e.text), 0o644),
				os.WriteFile(filepath.Join(dir, "other.md"), []byte("# Top"), 0o644),
			); err != nil {
				t.Fatal(err)
			}
			if err := broken(page); (err == nil) != e.ok {
				t.Errorf("%q: %v", e.text, err)
			}
		})
	}
}

var (
	code    = regexp.MustCompile("(?ms)^```.*?^```|^(?: {4}|\t).*?$|`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
)

// broken says which links of a page lead nowhere.
func broken(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range link.FindAllSubmatch(code.ReplaceAll(text, nil), -1) {
		target := string(m[1])
		if strings.Contains(target, "://") {
			continue
		}
		file, fragment, _ := strings.Cut(target, "#")
		path := page
		if file != "" {
			path = filepath.Join(filepath.Dir(page), file)
		}
		if _, err := os.Stat(path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", page, target, err))
		} else if fragment != "" && !has(path, fragment) {
			errs = append(errs, fmt.Errorf("%s: %s: no such heading", page, target))
		}
	}
	return errors.Join(errs...)
}

var (
	block  = regexp.MustCompile("(?ms)^```.*?^```")
	marked = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// has reports whether a page has a heading whose fragment, as forges derive it, is this one.
func has(page, fragment string) bool {
	text, err := os.ReadFile(page)
	if err != nil {
		return false
	}
	for _, m := range heading.FindAllSubmatch(block.ReplaceAll(text, nil), -1) {
		plain := marked.ReplaceAllString(strings.ToLower(string(m[1])), "")
		if strings.ReplaceAll(plain, " ", "-") == fragment {
			return true
		}
	}
	return false
}
