package files

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOffsetsBeyond4GiBAreServed: ranges and lengths of a sparse file of 5 GiB.
func TestOffsetsBeyond4GiBAreServed(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "big.img")
	const size = 5<<30 + 3
	w, err := os.Create(name)
	must(t, err)
	_, err = w.WriteAt([]byte("end"), size-3)
	must(t, err)
	must(t, w.Close())
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	h := New(root, Options{})

	w1 := do(t, h, request("GET", "/big.img", "Range", "bytes=-4"))
	if w1.Code != 206 || w1.Body.String() != "\x00end" || w1.Header().Get("Content-Range") != "bytes 5368709119-5368709122/5368709123" {
		t.Errorf("%d, %q, %v", w1.Code, w1.Body, w1.Header())
	}
	w2 := do(t, h, request("GET", "/big.img", "Range", "bytes=5368709120-5368709121,0-0"))
	if got := partBodies(t, w2); w2.Code != 206 || got != "en|\x00" {
		t.Errorf("%d, %q", w2.Code, got)
	}
	head := httptest.NewRecorder()
	h.ServeHTTP(head, request("HEAD", "/big.img"))
	if got := head.Header().Get("Content-Length"); head.Code != http.StatusOK || got != "5368709123" {
		t.Errorf("HEAD: %d, length %s", head.Code, got)
	}
}

// partBodies returns the bodies of the parts of a response, separated by |.
func partBodies(t *testing.T, w *httptest.ResponseRecorder) string {
	body := w.Body.String()
	var found []string
	for _, piece := range strings.Split(body, "\r\n\r\n")[1:] {
		content, _, _ := strings.Cut(piece, "\r\n--")
		found = append(found, content)
	}
	return strings.Join(found, "|")
}

// alphabet is the content of a.txt in serveAlphabet.
const alphabet = "abcdefghijklmnopqrstuvwxyz"

// serveAlphabet returns a handler for a directory with a.txt and an empty file.
func serveAlphabet(t testing.TB) http.Handler {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte(alphabet), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o644))
	must(t, os.Chtimes(filepath.Join(dir, "a.txt"), time.Time{}, time.Unix(1_700_000_000, 5)))
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return New(root, Options{})
}

// A part is a Content-Range and its bytes.
type part struct{ contentRange, body string }

// parts returns the parts of a 206 response.
func parts(t testing.TB, w *httptest.ResponseRecorder) []part {
	t.Helper()
	mediaType, parameters, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	must(t, err)
	if mediaType != "multipart/byteranges" {
		return []part{{w.Header().Get("Content-Range"), w.Body.String()}}
	}
	if w.Header().Get("Content-Range") != "" {
		t.Errorf("several parts, and Content-Range %q", w.Header().Get("Content-Range"))
	}
	var all []part
	// zsync discards the first line, and takes the next one as the boundary. http.ServeContent,
	// with which FuzzRange compares, sends no such line.
	if body := w.Body.String(); tagOf(w.Header()) != "" && !strings.HasPrefix(body, "\r\n--"+parameters["boundary"]+"\r\n") {
		t.Errorf("a body that starts with %.80q", body)
	}
	r := multipart.NewReader(bytes.NewReader(w.Body.Bytes()), parameters["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return all
		}
		must(t, err)
		body, err := io.ReadAll(p)
		must(t, err)
		if got := p.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("a part of type %q", got)
		}
		all = append(all, part{p.Header.Get("Content-Range"), string(body)})
	}
}

// TestConditionsPrecedeRanges: status and entity tag for each condition, alone and with a Range.
func TestConditionsPrecedeRanges(t *testing.T) {
	h := serveAlphabet(t)
	header := do(t, h, request("HEAD", "/a.txt")).Header()
	tag, modified := tagOf(header), header.Get("Last-Modified")
	const before, after = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"
	if modified != "Tue, 14 Nov 2023 22:13:20 GMT" {
		t.Fatalf("Last-Modified %q", modified)
	}
	if len(tag) < 20 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		t.Fatalf("ETag %q is not strong", tag)
	}
	for _, test := range []struct {
		name   string
		header []string
		status int
	}{
		{"none", nil, 200},
		{"same tag", []string{"If-None-Match", tag}, 304},
		{"same tag, weak", []string{"If-None-Match", "W/" + tag}, 304},
		{"tag in a list", []string{"If-None-Match", `"x", ` + tag}, 304},
		{"any tag", []string{"If-None-Match", "*"}, 304},
		{"other tag", []string{"If-None-Match", `"x"`}, 200},
		{"other tag counts, not the date", []string{"If-None-Match", `"x"`, "If-Modified-Since", modified}, 200},
		{"not modified", []string{"If-Modified-Since", modified}, 304},
		{"not modified later", []string{"If-Modified-Since", after}, 304},
		{"modified", []string{"If-Modified-Since", before}, 200},
		{"invalid date", []string{"If-Modified-Since", "yesterday"}, 200},
		{"match", []string{"If-Match", tag}, 200},
		{"match any", []string{"If-Match", "*"}, 200},
		{"no match", []string{"If-Match", `"x"`}, 412},
		{"no weak match", []string{"If-Match", "W/" + tag}, 412},
		{"unmodified", []string{"If-Unmodified-Since", modified}, 200},
		{"not unmodified", []string{"If-Unmodified-Since", before}, 412},
		{"match counts, not the date", []string{"If-Match", tag, "If-Unmodified-Since", before}, 200},
		{"match before range", []string{"If-Match", `"x"`, "Range", "bytes=0-0"}, 412},
		{"match before bad range", []string{"If-Match", `"x"`, "Range", "bytes=99-"}, 412},
		{"not modified before range", []string{"If-None-Match", tag, "Range", "bytes=0-0,2-2"}, 304},

		{"range of the tag", []string{"If-Range", tag, "Range", "bytes=1-2"}, 206},
		{"ranges of the tag", []string{"If-Range", tag, "Range", "bytes=1-2,4-5"}, 206},
		{"bad range of the tag", []string{"If-Range", tag, "Range", "bytes=99-"}, 416},
		{"range of another tag", []string{"If-Range", `"x"`, "Range", "bytes=1-2"}, 200},
		{"ranges of another tag", []string{"If-Range", `"x"`, "Range", "bytes=1-2,4-5"}, 200},
		{"bad range of another tag", []string{"If-Range", `"x"`, "Range", "bytes=99-"}, 200},
		{"range of a weak tag", []string{"If-Range", "W/" + tag, "Range", "bytes=1-2"}, 200},
		{"range of the date", []string{"If-Range", modified, "Range", "bytes=1-2"}, 206},
		{"range of another date", []string{"If-Range", before, "Range", "bytes=1-2"}, 200},
		{"range of a later date", []string{"If-Range", after, "Range", "bytes=1-2"}, 200},
		{"If-Range alone", []string{"If-Range", `"x"`}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := do(t, h, request("GET", "/a.txt", test.header...))
			if w.Code != test.status {
				t.Errorf("%d, want %d", w.Code, test.status)
			}
			if w.Code == 304 && tagOf(w.Header()) != tag {
				t.Errorf("304 with ETag %q", tagOf(w.Header()))
			}
			if w.Code == 200 && w.Body.String() != alphabet {
				t.Errorf("200 with body %q", w.Body)
			}
		})
	}
}

// TestLastModifiedIsNeverInTheFuture: a file with a time in the future has the time of the request as
// its date. 1970, the time of files from reproducible builds, is valid.
func TestLastModifiedIsNeverInTheFuture(t *testing.T) {
	root, dir := tree(t)
	h := New(root, Options{})
	name := filepath.Join(dir, "a.txt")
	must(t, os.Chtimes(name, time.Time{}, time.Unix(0, 0)))
	const epoch = "Thu, 01 Jan 1970 00:00:00 GMT"
	if got := do(t, h, request("GET", "/a.txt")).Header().Get("Last-Modified"); got != epoch {
		t.Errorf("a file of 1970: %q", got)
	}
	for _, test := range []struct {
		name, value string
		status      int
	}{
		{"If-Modified-Since", epoch, 304},
		{"If-Modified-Since", "Wed, 31 Dec 1969 23:59:59 GMT", 200},
		{"If-Unmodified-Since", epoch, 200},
		{"If-Unmodified-Since", "Wed, 31 Dec 1969 23:59:59 GMT", 412},
		{"If-Range", epoch, 206},
	} {
		if w := do(t, h, request("GET", "/a.txt", test.name, test.value, "Range", "bytes=0-0")); w.Code != test.status && !(test.status == 200 && w.Code == 206) {
			t.Errorf("a file of 1970, %s %s: %d, want %d", test.name, test.value, w.Code, test.status)
		}
	}
	must(t, os.Chtimes(name, time.Time{}, time.Now().Add(1000*time.Hour))) // written while the clock was wrong
	before := time.Now()
	got, err := http.ParseTime(do(t, h, request("GET", "/a.txt")).Header().Get("Last-Modified"))
	if err != nil || got.Before(before.Truncate(time.Second)) || got.After(time.Now()) {
		t.Errorf("a file with a time in the future: %v, %v", got, err)
	}
}

// A partRecorder is a ResponseWriter that, like http1.Response, records parts of a file without
// reading them. It fails the test if a body arrives in another form.
type partRecorder struct {
	*httptest.ResponseRecorder
	t    *testing.T
	file *File
}

func (s *partRecorder) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		s.t.Fatalf("a body from %T", src)
	}
	section, ok := limited.R.(*io.SectionReader)
	if !ok {
		s.t.Fatalf("a body from %T", limited.R)
	}
	outer, base, size := section.Outer()
	file, ok := outer.(*File)
	if !ok || base != 0 || size != file.Size() {
		s.t.Fatalf("a part of %T, from %d, of %d", outer, base, size)
	}
	if s.file == nil {
		file.Acquire()
		s.file = file
	}
	at, err := section.Seek(0, io.SeekCurrent)
	must(s.t, err)
	n := limited.N
	_, err = section.Seek(n, io.SeekCurrent)
	must(s.t, err)
	limited.N = 0
	fmt.Fprintf(s.ResponseRecorder, "<%d+%d>", at, n)
	return n, nil
}

// TestBodiesExposeTheFile: in each kind of response a ResponseWriter obtains the *File, which stays
// open until the writer releases it.
func TestBodiesExposeTheFile(t *testing.T) {
	h := serveAlphabet(t)
	for ranged, want := range map[string]string{
		"": "<0+26>", "bytes=3-4": "<3+2>", "bytes=-1": "<25+1>", "bytes=0-1,5-9": "<0+2>|<5+5>",
	} {
		w := &partRecorder{httptest.NewRecorder(), t, nil}
		r := request("GET", "/a.txt")
		if ranged != "" {
			r.Header.Set("Range", ranged)
		}
		h.ServeHTTP(w, r)
		got := w.Body.String()
		if strings.Contains(want, "|") {
			var bodies []string
			for _, p := range parts(t, w.ResponseRecorder) {
				bodies = append(bodies, p.body)
			}
			got = strings.Join(bodies, "|")
		}
		if got != want {
			t.Errorf("%q: %s, want %s", ranged, got, want)
		}
		buf := make([]byte, 1)
		if _, err := w.file.ReadAt(buf, 25); err != nil || buf[0] != 'z' {
			t.Errorf("a held file: %v, %q", err, buf)
		}
		w.file.Release()
		if _, err := w.file.ReadAt(buf, 25); err == nil {
			t.Error("a file without holders is open")
		}
	}
}
