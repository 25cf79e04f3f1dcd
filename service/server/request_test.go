package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRequest: the answer to an input does not depend on the pieces it arrives in, and net/http's
// server gives the same, but for the table of differences.
func FuzzRequest(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s), uint(3))
	}
	for seed := range uint64(100) {
		f.Add(generate(seed), uint(seed))
	}
	h := oldFiles(f)
	s := driveSettings(h)
	c := &compared{oracle: startOracle(f, h), seen: map[string]int{}, status: map[int]int{}}
	f.Fuzz(func(t *testing.T, input []byte, cut uint) {
		n := int(cut % uint(len(input)+1))
		stream := drive(t, s, input, func() int { return n })
		if whole := drive(t, s, input, func() int { return len(input) }); !alike(stream, whole) {
			t.Fatalf("in pieces of %d: %q, in one: %q", n, stream, whole)
		}
		if err := c.compare(t, input, stream); err != nil {
			t.Fatal(err)
		}
	})
}

// alike compares streams but for their times and boundaries.
func alike(a, b []byte) bool {
	x, errx := readOutcome(a)
	y, erry := readOutcome(b)
	return errx == nil && erry == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

// TestPipeline: a client that has asked for everything, closed its side, and then
// reads slowly, gets it all in order.
func TestPipeline(t *testing.T) {
	h := &folder{dir: t.TempDir()}
	const requests = 40
	var say strings.Builder
	var want [requests][]byte
	for i := range want {
		want[i] = h.file(t, fmt.Sprint(i), 1+i*i*100) // the last are spliced
		method := "GET"
		if i%7 == 3 {
			method, want[i] = "HEAD", nil
		}
		fmt.Fprintf(&say, "%s /%d HTTP/1.1\r\nHost: b\r\nX-Padding: %0*d\r\n\r\n", method, i, 10*i, 0)
	}
	ts := startServer(t, h, nil)
	for _, withTLS := range []bool{false, true} {
		c := ts.dial(t, withTLS)
		go func() {
			for rest := say.String(); len(rest) > 0; {
				n := min(len(rest), 777)
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					return // the reader will see
				}
				rest = rest[n:]
			}
			c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		r := &slowReader{c: c}
		for i, want := range want {
			var head []byte
			for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
				b := make([]byte, 1)
				if _, err := io.ReadFull(r, b); err != nil {
					t.Fatalf("tls %v: response %d: %v", withTLS, i, err)
				}
				head = append(head, b...)
			}
			body := make([]byte, len(want))
			if _, err := io.ReadFull(r, body); err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || !bytes.Equal(body, want) {
				t.Fatalf("tls %v: response %d is wrong: %q, %v", withTLS, i, head, err)
			}
		}
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
			t.Errorf("tls %v: after the last: %d bytes, %v", withTLS, len(rest), err)
		}
	}
	h.allReleased(t)
}

// slowReader reads little at a time.
type slowReader struct{ c net.Conn }

func (r *slowReader) Read(p []byte) (int, error) { return r.c.Read(p[:min(len(p), 1000)]) }

// TestRefusedWhileSending: a client that is refused in the middle of what it
// sends gets the answer, and an end in order.
func TestRefusedWhileSending(t *testing.T) {
	ts := startServer(t, http.NotFoundHandler(), nil)
	for _, tc := range []struct{ start, status string }{
		{"GET /", "414"},
		{"GET / HTTP/1.1\r\nHost: b\r\nX: ", "431"},
		{"HEAD / HTTP/1.1\r\nHost: b\r\nX: ", "431"},
		{"GET / HTTP/1.1\r\nHost: b\r\nExpect: tea\r\n\r\n", "417"},
		{"PUT / HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\n", "404"},
	} {
		for _, withTLS := range []bool{false, true} {
			got := ts.exchange(t, withTLS, []byte(tc.start+strings.Repeat("x", 600<<10)))
			head, body, _ := strings.Cut(string(got), "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 "+tc.status+" ") || !strings.Contains(head, "\r\nConnection: close\r\n") ||
				!strings.Contains(head+"\r\n", fmt.Sprintf("\r\nContent-Length: %d\r\n", len(body))) && !strings.HasPrefix(tc.start, "HEAD") ||
				strings.HasPrefix(tc.start, "HEAD") && body != "" {
				t.Errorf("tls %v, after %q: %q", withTLS, tc.start, got)
			}
		}
	}
}

// TestManyRanges: 256 ranges, at offsets beyond 4 GiB that are written with as many digits as
// there are, in a file of the longest content type, fit into a request's head, and their part
// headers into the memory of a response.
func TestManyRanges(t *testing.T) {
	dir := t.TempDir()
	const first = 5 << 30
	f, err := os.Create(filepath.Join(dir, "x.deb"))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 256)
	for i := range want {
		want[i] = byte(i)
	}
	if _, err = f.WriteAt(want, first); err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var ranges []string
	for i := range int64(256) {
		ranges = append(ranges, fmt.Sprintf("%019d-%019d", first+i, first+i))
	}
	ts := startServer(t, filesBelow(root), nil)
	for _, withTLS := range []bool{false, true} {
		say := "GET /x.deb HTTP/1.1\r\nHost: b\r\nConnection: close\r\nRange: bytes=" + strings.Join(ranges, ",") + "\r\n\r\n"
		raw := ts.exchange(t, withTLS, []byte(say))
		if !bytes.Contains(raw, []byte("\r\nETag: \"")) {
			t.Errorf("TLS %v: no field is spelled ETag: %.500q", withTLS, raw)
		}
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, parameters, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
		if err != nil || got.StatusCode != http.StatusPartialContent {
			t.Fatalf("TLS %v: status %d, %v, %v", withTLS, got.StatusCode, got.Header, err)
		}
		parts := multipart.NewReader(got.Body, parameters["boundary"])
		for i := range want {
			p, err := parts.NextRawPart()
			if err != nil {
				t.Fatalf("TLS %v, part %d: %v", withTLS, i, err)
			}
			body, err := io.ReadAll(p)
			at := first + int64(i)
			wantRange := fmt.Sprintf("bytes %d-%d/%d", at, at, int64(first+256))
			if r := p.Header.Get("Content-Range"); err != nil || r != wantRange || !bytes.Equal(body, want[i:i+1]) {
				t.Fatalf("TLS %v, part %d: %s %v, want %s %v; %v", withTLS, i, r, body, wantRange, want[i:i+1], err)
			}
		}
		if _, err := parts.NextRawPart(); err != io.EOF {
			t.Errorf("TLS %v, behind the last part: %v", withTLS, err)
		}
	}
}
