package service

import (
	"bytes"
	"testing"
)

// FuzzRequest: no input panics, the head's end does not depend on how the input
// came in pieces, and a request that is taken has what the rest relies on.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET /a?b HTTP/1.0\n\n",
		"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
		"CONNECT b:443 HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET http://b/ HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello",
		"GET / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s), uint(3))
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint) {
		end := headEnd(input, 0)
		n := int(cut % uint(len(input)+1))
		if first := headEnd(input[:n], 0); first >= 0 && first != end {
			t.Fatalf("head ends at %d, and at %d by its first %d bytes", end, first, n)
		} else if first < 0 && headEnd(input, n) != end {
			t.Fatalf("head ends at %d, or at %d if the search goes on at %d", end, headEnd(input, n), n)
		}
		if end < 0 {
			return
		}
		req, err := parseRequest(input[:end])
		if err != nil {
			if _, ok := err.(*requestError); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if req.URL == nil || req.ProtoMajor != 1 || req.Body == nil || req.ContentLength != 0 {
			t.Fatalf("%+v", req)
		}
		if bytes.Contains(bytes.ToLower(input[:end]), []byte("\ntransfer-encoding:")) && !req.Close {
			t.Fatal("a body was announced, and the connection is kept")
		}
	})
}
