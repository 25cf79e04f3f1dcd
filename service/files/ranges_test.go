package files

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// alphabet is the content of the file in the tests of ranges.
const alphabet = "abcdefghijklmnopqrstuvwxyz"

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

// part is a span of the file as a response has it.
type part struct{ contentRange, body string }

// parts takes a 206 response apart.
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
	// zsync drops the first line, and takes the next for the boundary. (http.ServeContent,
	// which FuzzRange compares with, has no such line.)
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

func TestRanges(t *testing.T) {
	h := serveAlphabet(t)
	for _, test := range []struct {
		ranged string
		status int
		want   []part
	}{
		{"bytes=0-0", 206, []part{{"bytes 0-0/26", "a"}}},
		{"bytes=2-4", 206, []part{{"bytes 2-4/26", "cde"}}},
		{"bytes=23-", 206, []part{{"bytes 23-25/26", "xyz"}}},
		{"bytes=-2", 206, []part{{"bytes 24-25/26", "yz"}}},
		{"bytes=-100", 206, []part{{"bytes 0-25/26", alphabet}}},
		{"bytes=0-", 206, []part{{"bytes 0-25/26", alphabet}}},
		{"bytes=25-99999999999999999999", 206, []part{{"bytes 25-25/26", "z"}}},
		{"bytes=-99999999999999999999", 206, []part{{"bytes 0-25/26", alphabet}}},
		{"Bytes=1-1", 206, []part{{"bytes 1-1/26", "b"}}},
		{"bytes=0-1,", 206, []part{{"bytes 0-1/26", "ab"}}},
		{"bytes=0-1,99-", 206, []part{{"bytes 0-1/26", "ab"}}},
		{"bytes=0-1, 3-4", 206, []part{{"bytes 0-1/26", "ab"}, {"bytes 3-4/26", "de"}}},
		{"bytes=-1,0-0,,2-2", 206, []part{{"bytes 25-25/26", "z"}, {"bytes 0-0/26", "a"}, {"bytes 2-2/26", "c"}}},
		{"bytes=0-5,3-8", 206, []part{{"bytes 0-5/26", "abcdef"}, {"bytes 3-8/26", "defghi"}}},
		{"bytes=" + strings.Repeat("0-0,", 26), 0, nil}, // see below

		// Costs more than the file.
		{"bytes=0-,0-0", 200, nil},
		{"bytes=" + strings.Repeat("0-0,", 27), 200, nil},

		// Not bytes, or not one Range.
		{"items=0-1", 200, nil}, {"bytes =0-1", 200, nil}, {"0-1", 200, nil}, {"", 200, nil},

		{"bytes=26-", 416, nil}, {"bytes=26-,30-", 416, nil}, {"bytes=-0", 416, nil}, {"bytes=99999999999999999999-", 416, nil},
		{"bytes=", 416, nil}, {"bytes=,", 416, nil}, {"bytes=x", 416, nil}, {"bytes=-", 416, nil}, {"bytes=2-1", 416, nil},
		{"bytes=0-1,x", 416, nil}, {"bytes=+0-1", 416, nil}, {"bytes=0--1", 416, nil}, {"bytes=0x1-2", 416, nil}, {"bytes=1", 416, nil},
	} {
		w := do(t, h, request("GET", "/a.txt", "Range", test.ranged))
		if test.status == 0 {
			if w.Code != 206 || len(parts(t, w)) != 26 {
				t.Errorf("%.40q: %d, %d parts", test.ranged, w.Code, len(parts(t, w)))
			}
			continue
		}
		if w.Code != test.status {
			t.Errorf("%.40q: %d, want %d", test.ranged, w.Code, test.status)
			continue
		}
		switch w.Code {
		case 200:
			if w.Body.String() != alphabet || w.Header().Get("Content-Range") != "" {
				t.Errorf("%.40q: body %q, header %v", test.ranged, w.Body, w.Header())
			}
		case 206:
			if got := parts(t, w); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("%.40q: %v, want %v", test.ranged, got, test.want)
			}
		case 416:
			if got := w.Header().Get("Content-Range"); got != "bytes */26" {
				t.Errorf("%.40q: Content-Range %q", test.ranged, got)
			}
		}
		if w.Code != 416 && (w.Header().Get("Accept-Ranges") != "bytes" || tagOf(w.Header()) == "" || w.Header().Get("Last-Modified") == "") {
			t.Errorf("%.40q: header %v", test.ranged, w.Header())
		}

		// HEAD has no ranges.
		if head := do(t, h, request("HEAD", "/a.txt", "Range", test.ranged)); head.Code != 200 || head.Header().Get("Content-Length") != "26" {
			t.Errorf("HEAD %.40q: %d, %v", test.ranged, head.Code, head.Header())
		}
	}
	// Lines of one list.
	for _, test := range []struct {
		lines  []string
		status int
		want   []part
	}{
		{[]string{"bytes=0-0", "bytes=1-1"}, 200, nil},
		{[]string{"bytes=0-0", "2-2"}, 206, []part{{"bytes 0-0/26", "a"}, {"bytes 2-2/26", "c"}}},
		{[]string{"bytes=0-0,", "", "2-2"}, 206, []part{{"bytes 0-0/26", "a"}, {"bytes 2-2/26", "c"}}},
		{[]string{"bytes=99-", "100-"}, 416, nil},
		{[]string{"items=0-0", "bytes=1-1"}, 200, nil},
		{[]string{"", "bytes=1-1"}, 200, nil},
	} {
		r := request("GET", "/a.txt")
		r.Header["Range"] = test.lines
		w := do(t, h, r)
		if w.Code != test.status || w.Code == 206 && fmt.Sprint(parts(t, w)) != fmt.Sprint(test.want) {
			t.Errorf("Range lines %q: %d, want %d %v", test.lines, w.Code, test.status, test.want)
		}
	}
	for _, ranged := range []string{"bytes=0-", "bytes=-5", "bytes=0-0,2-3", "bytes=x"} {
		if w := do(t, h, request("GET", "/empty", "Range", ranged)); w.Code != 200 || w.Body.Len() != 0 {
			t.Errorf("%s of an empty file: %d", ranged, w.Code)
		}
	}
}

// TestManyRanges: as many ranges as update clients ask for are answered in one response, and
// more with the whole file.
func TestManyRanges(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	must(t, os.WriteFile(filepath.Join(dir, "x.txt"), content, 0o644))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	h := New(root, Options{})
	for _, n := range []int{2, 32, 33, 150, 255, 256, 257} {
		var ranges []string
		for i := range n {
			ranges = append(ranges, fmt.Sprintf("%d-%d", 50*i, 50*i+i%20))
		}
		w := do(t, h, request("GET", "/x.txt", "Range", "bytes="+strings.Join(ranges, ", ")))
		if n > 256 {
			if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), content) {
				t.Errorf("%d ranges: %d, %d bytes", n, w.Code, w.Body.Len())
			}
			continue
		}
		got := parts(t, w)
		if w.Code != 206 || len(got) != n {
			t.Errorf("%d ranges: %d, %d parts", n, w.Code, len(got))
			continue
		}
		for i, p := range got {
			want := part{fmt.Sprintf("bytes %s/16000", ranges[i]), string(content[50*i : 50*i+i%20+1])}
			if p != want {
				t.Errorf("%d ranges, part %d: %v, want %v", n, i, p, want)
			}
		}
	}
}

// TestPartHeaders: with the largest sizes and the longest content type, the part headers of
// maxSpans ranges are as small as the comment of maxSpans says.
func TestPartHeaders(t *testing.T) {
	source, err := os.ReadFile("types.go")
	must(t, err)
	longest := ""
	for _, literal := range regexp.MustCompile(`"[^"]+/[^"]+"`).FindAllString(string(source), -1) {
		if kind, err := strconv.Unquote(literal); err == nil && len(kind) > len(longest) {
			longest = kind
		}
	}
	if len(longest) < len(contentType("x.deb")) {
		t.Fatalf("the longest content type is %q", longest)
	}
	spans := make([]span, maxSpans)
	for i := range spans {
		spans[i] = span{math.MaxInt64 - 1, 1}
	}
	boundary := multipart.NewWriter(io.Discard).Boundary()
	headers := partsLength(spans, math.MaxInt64, longest, boundary) - maxSpans
	if headers > 52<<10 {
		t.Errorf("%d bytes, of parts of type %s", headers, longest)
	}
}

func TestConditions(t *testing.T) {
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
		{"no date", []string{"If-Modified-Since", "yesterday"}, 200},
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

// A date that may come to name two contents does not resume a download.
func TestResumes(t *testing.T) {
	now := time.Unix(1_700_000_000, 500_000_000)
	const tag, second, earlier = `"x"`, "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT"
	for _, test := range []struct {
		name     string
		ifRange  []string
		modified time.Time
		want     bool
	}{
		{"none", nil, now, true},
		{"empty", []string{""}, now, false},
		{"tag", []string{tag}, now, true},
		{"another tag", []string{`"y"`}, now, false},
		{"weak tag", []string{`W/"x"`}, now, false},
		{"any tag", []string{"*"}, now, false},
		{"a list of tags", []string{`"y", "x"`}, now, false},
		{"the tag twice", []string{tag, tag}, now, false},
		{"date of a second that is over", []string{earlier}, now.Add(-501 * time.Millisecond), true},
		{"the same as asctime", []string{"Tue Nov 14 22:13:19 2023"}, now.Add(-501 * time.Millisecond), true},
		{"the same of RFC 850", []string{"Tuesday, 14-Nov-23 22:13:19 GMT"}, now.Add(-501 * time.Millisecond), true},
		{"date twice", []string{earlier, earlier}, now.Add(-501 * time.Millisecond), false},
		{"later date", []string{second}, now.Add(-501 * time.Millisecond), false},
		{"date of this second", []string{second}, now.Add(-time.Millisecond), false},
		{"date of a file from the future", []string{second}, lastModified(now.Add(time.Hour), now), false},
		{"1970", []string{"Thu, 01 Jan 1970 00:00:00 GMT"}, time.Unix(0, 0), true},
	} {
		header := http.Header{}
		if test.ifRange != nil {
			header["If-Range"] = test.ifRange
		}
		if got := resumes(header, tag, test.modified, now, origin{}); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	root, dir := tree(t)
	must(t, os.Chtimes(filepath.Join(dir, "a.txt"), time.Time{}, time.Now().Add(time.Hour)))
	for range 2 { // the second may begin within
		h := New(root, Options{})
		modified := do(t, h, request("HEAD", "/a.txt")).Header().Get("Last-Modified")
		if w := do(t, h, request("GET", "/a.txt", "If-Range", modified, "Range", "bytes=1-2")); w.Code != 200 {
			t.Errorf("a file from the future: %d", w.Code)
		}
	}
}

// Times that net/http or RFC 9110 leave out.
func TestLastModified(t *testing.T) {
	root, dir := tree(t)
	h := New(root, Options{})
	name := filepath.Join(dir, "a.txt")
	must(t, os.Chtimes(name, time.Time{}, time.Unix(0, 0))) // reproducible builds
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
	must(t, os.Chtimes(name, time.Time{}, time.Now().Add(1000*time.Hour))) // no clock
	before := time.Now()
	got, err := http.ParseTime(do(t, h, request("GET", "/a.txt")).Header().Get("Last-Modified"))
	if err != nil || got.Before(before.Truncate(time.Second)) || got.After(time.Now()) {
		t.Errorf("a file from the future: %v, %v", got, err)
	}
}

// seeing is a ResponseWriter that takes file parts without reading them, as the
// daemon's does, and refuses to take a file's bytes any other way.
type seeing struct {
	*httptest.ResponseRecorder
	t    *testing.T
	file *File
}

func (s *seeing) ReadFrom(src io.Reader) (int64, error) {
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

// A writer can see through to the file in each kind of response, and the file
// stays open for as long as it is held.
func TestSeenThrough(t *testing.T) {
	h := serveAlphabet(t)
	for ranged, want := range map[string]string{
		"": "<0+26>", "bytes=3-4": "<3+2>", "bytes=-1": "<25+1>", "bytes=0-1,5-9": "<0+2>|<5+5>",
	} {
		w := &seeing{httptest.NewRecorder(), t, nil}
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
			t.Error("a file that nobody holds is open")
		}
	}
}

// Whatever a Range says, the bytes are those that the response says they are; and
// where http.ServeContent serves the same spans, they are the same.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-0", "bytes=-5,0-1", "bytes=5-", "bytes=2-1", "bytes=-0", "bytes=,,1-2,", "items=1-2",
		"bytes=99999999999999999999-", "bytes=0-0,0-0,0-0", "BYTES=\t1 - 2 ", "bytes=+1-2", "bytes=1-2;3-4", "=", "bytes=0-25,-26"} {
		f.Add(seed, uint16(len(alphabet)))
	}
	h := serveAlphabet(f)
	f.Fuzz(func(t *testing.T, value string, size uint16) {
		spans, err := parseRange(value, int64(size))
		if err != nil && spans != nil {
			t.Fatal("spans with an error")
		}
		for _, s := range spans {
			if s.start < 0 || s.length <= 0 || s.start+s.length > int64(size) {
				t.Fatalf("%q of %d: %+v", value, size, s)
			}
		}

		r := request("GET", "/a.txt", "Range", value)
		w := do(t, h, r)
		switch w.Code {
		case 200:
			if w.Body.String() != alphabet {
				t.Fatalf("%q: 200 with %q", value, w.Body)
			}
			return
		case 416:
			return
		case 206:
		default:
			t.Fatalf("%q: status %d", value, w.Code)
		}
		got := parts(t, w)
		for _, p := range got {
			var first, last, size int
			if _, err := fmt.Sscanf(p.contentRange, "bytes %d-%d/%d", &first, &last, &size); err != nil || size != 26 || alphabet[first:last+1] != p.body {
				t.Fatalf("%q: %v", value, p)
			}
		}
		oracle := httptest.NewRecorder()
		oracle.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.ServeContent(oracle, r, "a.txt", time.Time{}, strings.NewReader(alphabet))
		// It takes the empty span "-0" for one that can be served, and no unit but
		// "bytes".
		if oracle.Code == 206 && !strings.Contains(value, "-0") {
			if want := parts(t, oracle); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q: %v, http.ServeContent has %v", value, got, want)
			}
		}
	})
}
