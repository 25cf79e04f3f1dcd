package files

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// listJSONOf returns the entries of a listing in JSON.
func listJSONOf(t *testing.T, w *httptest.ResponseRecorder) []listed {
	t.Helper()
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Vary") != "Accept" {
		t.Fatalf("%d, %v", w.Code, w.Header())
	}
	var entries []listed
	must(t, json.Unmarshal(w.Body.Bytes(), &entries))
	return entries
}

// TestListingHasOnlyReachableNames: the listing of the root in JSON and HTML, with names that need
// escaping.
func TestListingHasOnlyReachableNames(t *testing.T) {
	root, dir := tree(t)
	h := New(root, Options{Listing: true})
	must(t, os.Chtimes(filepath.Join(dir, "a.txt"), time.Time{}, time.Unix(1_700_000_000, 0)))
	must(t, os.WriteFile(filepath.Join(dir, "bad\xffname"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "new\nline"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, `x"onload='alert(1)'&amp;javascript:y`), nil, 0o644))

	var got []string
	for _, e := range listJSONOf(t, do(t, h, request("GET", "/", "Accept", "application/json"))) {
		got = append(got, fmt.Sprintf("%s %s %d", e.Type, e.Name, e.Size))
		if _, err := time.Parse(time.RFC3339, e.Modified); err != nil || e.Name == "a.txt" && e.Modified != "2023-11-14T22:13:20Z" {
			t.Errorf("%s modified %q", e.Name, e.Modified)
		}
	}
	// Without hidden names, names that cannot be requested, devices, and links that lead outside.
	want := []string{"file a b%41&<i>.txt 8", "file a.txt 10", "directory a:b 0", "file chain 10", "directory dir 0", "file empty.bin 0",
		"directory indexdir 0", "file inside 6", "directory insidedir 0", "directory page 0", `file x"onload='alert(1)'&amp;javascript:y 0`}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	w := do(t, h, request("GET", "/"))
	page := w.Body.String()
	if w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Vary") != "Accept" || w.Header().Get(headerTruncated) != "" ||
		!strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("header %v", w.Header())
	}
	for _, want := range []string{
		`<title>/</title>`,
		`<li><a href="./a%20b%2541&amp;%3Ci%3E.txt">a b%41&amp;&lt;i&gt;.txt</a> <span>8 B</span> `,
		`<li><a href="./a.txt">a.txt</a> <span>10 B</span> <time datetime="2023-11-14T22:13:20Z">2023-11-14 22:13 UTC</time></li>`,
		`<li><a href="./a:b/">a:b/</a> <span></span> `,
		`<li><a href="./x%22onload=%27alert%281%29%27&amp;amp%3Bjavascript:y">x&#34;onload=&#39;alert(1)&#39;&amp;amp;javascript:y</a>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, "../") || strings.Contains(page, "<script") || strings.Contains(page, "<i>") {
		t.Errorf("the page has markup from a name, or a parent link:\n%s", page)
	}
	if sub := do(t, h, request("GET", "/dir/sub/")).Body.String(); !strings.Contains(sub, `<li><a href="../">../</a></li>`) || !strings.Contains(sub, "<title>/dir/sub/</title>") {
		t.Errorf("a subdirectory:\n%s", sub)
	}

	// Every listed name can be requested.
	for _, e := range got {
		kind, rest, _ := strings.Cut(e, " ")
		name := rest[:strings.LastIndexByte(rest, ' ')]
		path := "/" + name
		if kind == "directory" {
			path += "/"
		}
		if w := do(t, h, request("GET", path)); w.Code != 200 {
			t.Errorf("listed, but %d: %q", w.Code, path)
		}
	}
}

func TestIndexHTMLReplacesTheListing(t *testing.T) {
	root, _ := tree(t)
	h := New(root, Options{Listing: true})
	// A directory named index.html is listed; a file of that name is served.
	if got := listJSONOf(t, do(t, h, request("GET", "/indexdir/", "Accept", "application/json"))); len(got) != 1 || got[0].Type != "directory" {
		t.Errorf("index.html as a directory: %v", got)
	}
	if w := do(t, h, request("GET", "/page/", "Accept", "application/json")); w.Body.String() != "<p>page" || w.Header().Get("Vary") != "" {
		t.Errorf("index.html: %q", w.Body)
	}
	if got := listJSONOf(t, do(t, h, request("GET", "/insidedir/", "Accept", "application/json"))); len(got) != 3 {
		t.Errorf("through a link: %v", got)
	}
}

// TestLargeListingIsTruncatedInOrder: a listing that is too large has the first names in sort order,
// says that it is truncated, and stays below maxListing.
func TestLargeListingIsTruncatedInOrder(t *testing.T) {
	for name, test := range map[string]struct {
		count  int
		format string
	}{
		"many":     {2*maxEntries + 500, "n%05d"},
		"long":     {600, strings.Repeat("x", 200) + "%05d"},
		"escaping": {600, strings.Repeat("&", 240) + "%05d"},
		"quotes":   {600, strings.Repeat(`"`, 240) + "%05d"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range test.count {
				must(t, os.Mkdir(filepath.Join(dir, fmt.Sprintf(test.format, i)), 0o755))
			}
			root, err := os.OpenRoot(dir)
			must(t, err)
			defer root.Close()
			h := New(root, Options{Listing: true})

			w := do(t, h, request("GET", "/", "Accept", "application/json"))
			if w.Body.Len() > maxListing || w.Body.Len() < maxListing-4096 || w.Header().Get(headerTruncated) != "true" {
				t.Errorf("JSON of %d bytes, header %v", w.Body.Len(), w.Header())
			}
			for i, e := range listJSONOf(t, w) {
				if want := fmt.Sprintf(test.format, i); e.Name != want {
					t.Fatalf("entry %d is %q", i, e.Name)
				}
			}
			w = do(t, h, request("GET", "/"))
			if page := w.Body.String(); len(page) > maxListing || len(page) < maxListing-8192 || w.Header().Get(headerTruncated) != "true" ||
				!strings.Contains(page, "This listing is truncated") || !strings.HasSuffix(page, "</html>\n") {
				t.Errorf("HTML of %d bytes, header %v", len(page), w.Header())
			}
			head := do(t, h, request("HEAD", "/"))
			if head.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) || head.Header().Get("Vary") != "Accept" {
				t.Errorf("HEAD: %v", head.Header())
			}
		})
	}
}

// TestListingOfEmptyAndDeepDirectories: an empty directory has an empty list; the title of a long
// path is truncated.
func TestListingOfEmptyAndDeepDirectories(t *testing.T) {
	root, dir := tree(t)
	h := New(root, Options{Listing: true})
	must(t, os.Mkdir(filepath.Join(dir, "none"), 0o755))
	if w := do(t, h, request("GET", "/none/", "Accept", "application/json")); w.Body.String() != "[\n]\n" || len(listJSONOf(t, w)) != 0 {
		t.Errorf("an empty directory: %q", w.Body)
	}
	deep := ""
	for range 8 {
		deep += "/" + strings.Repeat("ü", 127)
	}
	must(t, os.MkdirAll(filepath.Join(dir, deep), 0o755))
	w := do(t, h, request("GET", deep+"/"))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<title>..."+strings.Repeat("ü", 72)+"/"+strings.Repeat("ü", 127)+"/</title>") {
		t.Errorf("a long path: %d\n%s", w.Code, w.Body)
	}
}

func TestHumanSizeUsesTheLargestUnit(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5<<30 + 1<<29: "5.5 GiB", 1 << 50: "1024.0 TiB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
