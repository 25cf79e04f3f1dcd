package files

import (
	"bytes"
	"fmt"
	"io"
	"math"
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

// TestRangesSelectParts: single, suffix, open and multiple ranges, malformed ranges, and several
// Range fields.
func TestRangesSelectParts(t *testing.T) {
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

		// Longer than the file.
		{"bytes=0-,0-0", 200, nil},
		{"bytes=" + strings.Repeat("0-0,", 27), 200, nil},

		// Another unit, or several Range values.
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

		// A HEAD ignores ranges.
		if head := do(t, h, request("HEAD", "/a.txt", "Range", test.ranged)); head.Code != 200 || head.Header().Get("Content-Length") != "26" {
			t.Errorf("HEAD %.40q: %d, %v", test.ranged, head.Code, head.Header())
		}
	}
	// Several fields are one list.
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

// TestUpTo256RangesAreServed: update clients request up to 256 ranges. A request for more gets the
// whole file.
func TestUpTo256RangesAreServed(t *testing.T) {
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

// TestPartHeadersFitIntoMemory: with the largest offsets and the longest content type, the part
// headers of maxSpans ranges are below 52 KiB, as the comment of maxSpans says.
func TestPartHeadersFitIntoMemory(t *testing.T) {
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

// FuzzRange: for any Range, each part has the bytes that its Content-Range names. If
// http.ServeContent answers with 206 too, it sends the same parts.
func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-0", "bytes=-5,0-1", "bytes=5-", "bytes=2-1", "bytes=-0", "bytes=,,1-2,", "items=1-2",
		"bytes=99999999999999999999-", "bytes=0-0,0-0,0-0", "BYTES=\t1 - 2 ", "bytes=+1-2", "bytes=1-2;3-4", "=", "bytes=0-25,-26"} {
		f.Add(seed, uint16(len(alphabet)))
	}
	h := serveAlphabet(f)
	f.Fuzz(func(t *testing.T, value string, size uint16) {
		spans, err := parseRange(value, int64(size), nil)
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
		// http.ServeContent treats the empty span "-0" as satisfiable, and accepts the unit only
		// in lower case.
		if oracle.Code == 206 && !strings.Contains(value, "-0") {
			if want := parts(t, oracle); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q: %v, http.ServeContent has %v", value, got, want)
			}
		}
	})
}
