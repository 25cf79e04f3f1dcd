package http1

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// FuzzHead: no input causes a panic, the end of the head does not depend on how the bytes are split
// into reads, and an accepted request has the fields that the server needs.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: b\r\n\r\n", "GET / HTTP/1.0\n\n", "\r\n\nHEAD http://b/x HTTP/1.1\nHost: b\n\n",
		"GET / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\n folded\r\n\r\n", "\x16\x03\x01",
	} {
		f.Add([]byte(s), uint(3))
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint) {
		end := headEnd(input, 0)
		n := int(cut % uint(len(input)+1))
		if first := headEnd(input[:n], 0); first >= 0 && first != end {
			t.Fatalf("head ends at %d, and at %d by its first %d bytes", end, first, n)
		} else if first < 0 && headEnd(input, n) != end {
			t.Fatalf("head ends at %d, or at %d if the search continues at %d", end, headEnd(input, n), n)
		}
		FindHead(TrimBlankLines(input), 0)
		if end >= 0 {
			checkParsed(t, input[:end])
		}
	})
}

// checkParsed parses a complete head and checks the request or the error.
func checkParsed(t *testing.T, head []byte) {
	req, err := ParseRequest(head)
	if err != nil {
		if bad, ok := err.(*RequestError); !ok || bad.Status < 400 || bad.Text == "" {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	if req.URL == nil || req.ProtoMajor != 1 || req.Body == nil || req.ContentLength != 0 {
		t.Fatalf("%+v", req)
	}
	if bytes.Contains(bytes.ToLower(head), []byte("\ntransfer-encoding:")) && !req.Close {
		t.Fatal("the connection persists after a request with a body")
	}
}

// TestHostZoneIsAcceptedInAnySpelling: an IPv6 address with a zone is accepted for each interface
// name, with "%" or "%25" before it. A malformed zone is rejected.
func TestHostZoneIsAcceptedInAnySpelling(t *testing.T) {
	good := []string{"%eth0", "%wlan0", "%en0", "%lo", "%2", "%12", "%25", "%be0", "%a", "%ab", "%br-lan", "%eth0.100", "%wg_0~x", "%enp0s31f6",
		"%25eth0", "%25wlan0", "%252", "%2525", "%25be0", "%25br-lan", "%25eth0%2E1", "%eth0%2e1"}
	bad := []string{"%", "%eth 0", "%[eth0", "%eth0[", "%eth0]", "%eth0%", "%eth0%2", "%eth0%zz", "%25%", "%25%zz", "%eth\x010", "%eth\x7f", "%eth\xff", "%eth0/1", "%\"", "%<eth0>"}
	status := func(target, host string) int {
		req, err := ParseRequest([]byte("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"))
		if err != nil {
			return err.(*RequestError).Status
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
					// In the target, as clients send it to a proxy.
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
	// Targets in which the zone is not part of the authority.
	for target, path := range map[string]string{
		"/x/http://[fe80::1%25eth0]/f": "/x/http://[fe80::1%eth0]/f",
		"http://b/f?http://[::1%25a]":  "/f",
	} {
		req, err := ParseRequest([]byte("GET " + target + " HTTP/1.1\r\nHost: b\r\n\r\n"))
		if err != nil || req.URL.Path != path || req.RequestURI != target {
			t.Errorf("%s: %+v, %v", target, req, err)
		}
	}
}
