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

// FuzzRequest: no input panics, the head's end does not depend on how the input
// came in pieces, a request that is taken has what the rest relies on, and
// net/http's server would have answered the same, but for the table of
// differences.
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
		end := headEnd(input, 0)
		n := int(cut % uint(len(input)+1))
		if first := headEnd(input[:n], 0); first >= 0 && first != end {
			t.Fatalf("head ends at %d, and at %d by its first %d bytes", end, first, n)
		} else if first < 0 && headEnd(input, n) != end {
			t.Fatalf("head ends at %d, or at %d if the search goes on at %d", end, headEnd(input, n), n)
		}
		if end >= 0 {
			checkParsed(t, input[:end])
		}
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

func checkParsed(t *testing.T, head []byte) {
	req, err := parseRequest(head)
	if err != nil {
		if bad, ok := err.(*requestError); !ok || bad.status < 400 || bad.text == "" {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	if req.URL == nil || req.ProtoMajor != 1 || req.Body == nil || req.ContentLength != 0 {
		t.Fatalf("%+v", req)
	}
	if bytes.Contains(bytes.ToLower(head), []byte("\ntransfer-encoding:")) && !req.Close {
		t.Fatal("a body was announced, and the connection is kept")
	}
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

// TestZones: whether a host with the zone of an IPv6 address is served does not depend on the
// interface's name, nor on how the client escapes it; and what is no zone is refused.
func TestZones(t *testing.T) {
	good := []string{"%eth0", "%wlan0", "%en0", "%lo", "%2", "%12", "%25", "%be0", "%a", "%ab", "%br-lan", "%eth0.100", "%wg_0~x", "%enp0s31f6",
		"%25eth0", "%25wlan0", "%252", "%2525", "%25be0", "%25br-lan", "%25eth0%2E1", "%eth0%2e1"}
	bad := []string{"%", "%eth 0", "%[eth0", "%eth0[", "%eth0]", "%eth0%", "%eth0%2", "%eth0%zz", "%25%", "%25%zz", "%eth\x010", "%eth\x7f", "%eth\xff", "%eth0/1", "%\"", "%<eth0>"}
	status := func(target, host string) int {
		req, err := parseRequest([]byte("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"))
		if err != nil {
			return err.(*requestError).status
		}
		if req.URL.Path != "/f" || req.URL.RawQuery != "q" {
			t.Errorf("%s becomes %s", target, req.URL)
		}
		return http.StatusOK
	}
	for _, test := range []struct {
		zones []string
		want  int
	}{{good, http.StatusOK}, {bad, http.StatusBadRequest}} {
		for _, zone := range test.zones {
			for _, address := range []string{"fe80::1", "fe80::1:2:3:4", "::ffff:192.0.2.1"} {
				for _, port := range []string{"", ":", ":8080"} {
					host := "[" + address + zone + "]" + port
					if got := status("/f?q", host); got != test.want {
						t.Errorf("Host %q: %d, want %d", host, got, test.want)
					}
					// In the target of a client that takes this for a proxy.
					for _, scheme := range []string{"http://", "HTTPS://"} {
						want := test.want
						if strings.HasPrefix(zone, "%eth0]") || strings.Contains(zone, "/") {
							want = http.StatusBadRequest
						}
						if got := status(scheme+host+"/f?q", "b"); got != want {
							t.Errorf("target %q: %d, want %d", scheme+host+"/f?q", got, want)
						}
					}
				}
			}
		}
	}
	for _, host := range []string{"fe80::1%eth0", "b%eth0", "192.0.2.1%eth0", "[192.0.2.1%eth0]", "[b%eth0]", "[%eth0]", "[fe80::1]%eth0", "[fe80::1%eth0", "[fe80::1%eth0]x",
		"[fe80::1%eth0]:x", "[fe80::1::2%eth0]", "u@[fe80::1%eth0]"} {
		if got := status("/f?q", host); got != http.StatusBadRequest {
			t.Errorf("Host %q: %d", host, got)
		}
		if got := status("http://"+host+"/f?q", "b"); got != http.StatusBadRequest {
			t.Errorf("target with %q: %d", host, got)
		}
	}
	// What looks like such a target and is none.
	for target, path := range map[string]string{
		"/x/http://[fe80::1%25eth0]/f": "/x/http://[fe80::1%eth0]/f",
		"http://b/f?http://[::1%25a]":  "/f",
	} {
		req, err := parseRequest([]byte("GET " + target + " HTTP/1.1\r\nHost: b\r\n\r\n"))
		if err != nil || req.URL.Path != path || req.RequestURI != target {
			t.Errorf("%s: %+v, %v", target, req, err)
		}
	}
}
