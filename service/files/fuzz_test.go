package files

import (
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzPath: no path makes the handler return a byte or a name from outside the root. Each status is
// an expected one, each body has its Content-Length, and a redirect leads to a path that is not
// redirected again.
func FuzzPath(f *testing.F) {
	root, dir := tree(f)
	must(f, os.WriteFile(filepath.Join(filepath.Dir(dir), "outside", "only-outside"), []byte(secret), 0o644))
	opened, err := root.Open(".")
	must(f, err)
	f.Cleanup(func() { opened.Close() })
	h := newHandler(root, Options{Listing: true, Directory: opened}, kernel())
	for _, seed := range []string{"/", "/a.txt", "/dir/", "/dir", "//a.txt", "/../outside/secret", "/out", "/outdir/", "/outdir/secret",
		"/%2e%2e/outside/secret", "/..%2foutside%2fsecret", "/insidedir/../outdir/secret", "/outabs/secret", "/proc", "/outslash/", "/around",
		"/chain/", "/dir/sub/out", "/\\\\host", "/%5c%5chost/..", "/.//host", "/a\x00", "/\xff", "/fifo", "/socket", "/loop/x", "*", "", "http://h",
		"/dir/../../root-2/secret", "/outsibling", "/page/../page", "/x?y", "/dir%2f", "/./.well-known/x.txt"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, requested string) {
		paths := []string{requested, "/" + requested}
		if target, err := url.ParseRequestURI(requested); err == nil {
			paths = append(paths, target.Path)
		}
		for _, p := range paths {
			w := do(t, h, request("GET", p))
			body := w.Body.String()
			cached := httptest.NewRecorder()
			if serveCached(h, cached, request("GET", p)) && (cached.Code != w.Code || cached.Body.String() != body) {
				t.Errorf("%q: from the cache %d %q, else %d %q", p, cached.Code, cached.Body, w.Code, body)
			}
			if strings.Contains(body, secret) || strings.Contains(body, "only-outside") {
				t.Errorf("%q leads outside: %d %q", p, w.Code, body)
			}
			switch w.Code {
			case 200, 301, 400, 404:
			default:
				t.Errorf("%q: status %d", p, w.Code)
			}
			// The target of a redirect is on this host, and is not redirected again.
			if location := w.Header().Get("Location"); location != "" {
				target, err := url.Parse(location)
				if err != nil || target.Host != "" || target.Scheme != "" {
					t.Fatalf("%q: Location %q", p, location)
				}
				if again := do(t, h, request("GET", target.Path)); again.Code == 301 && again.Header().Get("Location") != location+"/" {
					t.Errorf("%q: Location %q, and then %q", p, location, again.Header().Get("Location"))
				}
			}
		}
	})
}
