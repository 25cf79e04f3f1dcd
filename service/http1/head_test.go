package http1

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// heads are request heads, well-formed and not.
func heads() []string {
	all := []string{
		"GET / HTTP/1.1\r\nHost: b\r\n\r\n", "GET / HTTP/1.0\n\n", "HEAD http://b/x?y HTTP/1.1\nHost: b\n\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET * HTTP/1.1\r\nHost: b\r\n\r\n", "GET / HTTP/1.9\r\nHost: b\r\n\r\n", "BREW /pot HTTP/1.1\r\nhOsT:\tb:80 \r\n\r\n",
		"GET http://[fe80::1%25eth0]:80/ HTTP/1.1\r\nHost: [fe80::1%eth0]:80\r\n\r\n", "GET http://[fe80::1%eth0/ HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", "GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n", "GET ftp://b/x HTTP/1.1\r\nHost: b\r\n\r\n", "GET http:x HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET x HTTP/1.1\r\nHost: b\r\n\r\n", "GET ?x HTTP/1.1\r\nHost: b\r\n\r\n", "GET http://b%zz/ HTTP/1.1\r\nHost: b\r\n\r\n",
	}
	for _, target := range []string{"//x", "/%2f%00%ff", "/%", "/%2", "/%2x", "/a%zz?b", "/?%zz", "/a?b?c", "/a?", "/#a", "/a;b", "/a:b", "/\x80\xff", "/a\tb", "/a\x01b", "/[", "/\"<>\\^`{|}", "//[::1]/x", "//u@h:x/y", "/a%20b%2Bc+d"} {
		all = append(all, "GET "+target+" HTTP/1.1\r\nHost: b\r\n\r\n")
	}
	for _, fields := range []string{
		"Host: b\r\nHost: b\r\n", "", "Host:\r\n", "Host: b/\r\n", "Host: b c\r\n", "Host: b:x\r\n", "Host: b:\r\n", "Host: a_b~!$&'()*+,;=%41\r\n", "Host: a%4\r\n",
		"Host: b\r\nContent-Length: 0\r\n", "Host: b\r\nContent-Length: 000\r\n", "Host: b\r\nContent-Length: 5\r\n", "Host: b\r\nContent-Length: \r\n", "Host: b\r\nContent-Length: -1\r\n", "Host: b\r\nContent-Length: 1,1\r\n",
		"Host: b\r\nContent-Length: 1\r\nContent-Length: 1\r\n", "Host: b\r\nContent-Length: 1\r\nContent-Length: 01\r\n", "Host: b\r\nContent-Length: 9223372036854775807\r\n", "Host: b\r\nContent-Length: 9223372036854775808\r\n", "Host: b\r\nContent-Length: 00000000000000000000000000\r\n",
		"Host: b\r\nTransfer-Encoding: chunked\r\n", "Host: b\r\nTransfer-Encoding: CHUNKED\r\nContent-Length: 5\r\n", "Host: b\r\nTransfer-Encoding: gzip, chunked\r\n", "Host: b\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
		"Host: b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Host: b\r\nTransfer-Encoding: identity\r\n", "Host: b\r\nTransfer-Encoding: \r\n", "Host: b\r\nTransfer-Encoding: chunked,\r\n", "Host: b\r\nTransfer-Encoding: chunked\r\nContent-Length: 99999999999999999999\r\n",
		"Host: b\r\nTransfer-Encoding: chunked\r\nTrailer: A, Content-Length\r\n", "Host: b\r\nTransfer-Encoding: chunked\r\nTrailer: A, B\r\nTrailer: C\r\n", "Host: b\r\nTrailer: Content-Length\r\n",
		"Host: b\r\nConnection: close\r\n", "Host: b\r\nConnection: Keep-Alive\r\n", "Host: b\r\nConnection: x, Close ,\r\nConnection: keep-alive\r\n", "Host: b\r\nConnection: closed\r\n", "Host: b\r\nConnection: close\x80\r\n",
		"Host: b\r\nExpect: 100-continue\r\n", "Host: b\r\nExpect: 100-Continue, x\r\n", "Host: b\r\nExpect: ,\r\n", "Host: b\r\nExpect: a\r\nContent-Length: x\r\n",
		"Host: b\r\nPragma: no-cache\r\n", "Host: b\r\nPragma: no-cache\r\nCache-Control: x\r\n", "Host: b\r\nPragma: No-Cache\r\n", "Host: b\r\nPragma: a\r\nPragma: no-cache\r\n",
		"Host: b\r\n folded\r\n", "Host: b\r\nA : x\r\n", "Host: b\r\n: x\r\n", "Host: b\r\nA\r\n", "Host: b\r\nA: \x01\r\n", "Host: b\r\nA: a\tb\r\n", "Host: b\r\nA: \x80\xff\r\n", "Host: b\r\nA: a\rb\r\n",
		"Host: b\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\naccept-encoding: gzip\r\nx-CUSTOM: 1\r\nX-Custom: 2\r\n", "Host: b\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
		"Host: b\r\n" + strings.Repeat("A: b\r\n", 99), "Host: b\r\n" + strings.Repeat("A: b\r\n", 100),
	} {
		all = append(all, "GET /x HTTP/1.1\r\n"+fields+"\r\n", "GET /x HTTP/1.0\r\n"+fields+"\r\n", strings.ReplaceAll("HEAD http://c/ HTTP/1.1\r\n"+fields+"\r\n", "\r\n", "\n"))
	}
	return all
}

// compareWithOracle fails if Parse and Request disagree with net/http's parser about a head.
func compareWithOracle(t *testing.T, head []byte) {
	t.Helper()
	want, wantErr := oracleParse(append([]byte(nil), head...))
	got, gotErr := ParseRequest(head)
	if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.(*RequestError).Status != wantErr.(*RequestError).Status {
		t.Fatalf("%q: got %v, want %v", head, gotErr, wantErr)
	}
	if gotErr != nil {
		return
	}
	for i := range head { // the request must not depend on the head's memory
		head[i] = 'x'
	}
	want.Trailer = nil
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v %+v, want %+v %+v", got, got.URL, want, want.URL)
	}
}

// TestHeadAgreesWithNetHTTP: each head is accepted or rejected as by net/http's server, with the same
// status, and gives the same request.
func TestHeadAgreesWithNetHTTP(t *testing.T) {
	for _, head := range heads() {
		compareWithOracle(t, []byte(head))
	}
}

func FuzzHeadAgreesWithNetHTTP(f *testing.F) {
	for _, head := range heads() {
		f.Add([]byte(head))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if n, bad := FindHead(input, 0); n > 0 && bad == nil {
			compareWithOracle(t, input[:n])
		}
	})
}

// typicalHead is a request of curl, with conditions and a range.
const typicalHead = "GET /firmware/image.raucb HTTP/1.1\r\nHost: board-17.local:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n" +
	"If-None-Match: \"0123456789abcdef\"\r\nRange: bytes=100-199\r\nConnection: keep-alive\r\n\r\n"

// TestParseAllocatesNothing: the head of a usual request is parsed without garbage.
func TestParseAllocatesNothing(t *testing.T) {
	head := []byte(typicalHead)
	var h Head
	if n := testing.AllocsPerRun(100, func() {
		if bad := h.Parse(head); bad != nil {
			t.Fatal(bad)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	got := fmt.Sprintf("%s %s %d %s %v %d", h.Method, h.Path, h.Minor, h.Host, h.Close, len(h.Fields))
	if want := "GET /firmware/image.raucb 1 board-17.local:8080 false 6"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if h.Method != http.MethodGet || string(h.Fields[4].Name) != "Range" || string(h.Fields[4].Value) != "bytes=100-199" {
		t.Errorf("got %q %q", h.Fields[4].Name, h.Fields[4].Value)
	}
}

func BenchmarkParse(b *testing.B) {
	head := []byte(typicalHead)
	var h Head
	b.ReportAllocs()
	for b.Loop() {
		if bad := h.Parse(head); bad != nil {
			b.Fatal(bad)
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	for name, parse := range map[string]func([]byte) (*http.Request, error){"own": ParseRequest, "net-http": oracleParse} {
		b.Run(name, func(b *testing.B) {
			head := []byte(typicalHead)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parse(head); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestCharacterSets: the sets of characters are those of the oracle, for each byte.
func TestCharacterSets(t *testing.T) {
	for c := range 256 {
		b := []byte{byte(c)}
		if isToken(b) != oracleToken(b) || hasControl(b) != oracleControl(b) {
			t.Errorf("byte %#x: token %t, control character %t", c, isToken(b), hasControl(b))
		}
	}
}
