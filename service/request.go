package service

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
)

const (
	maxHead   = 16 << 10 // bytes of a request's head
	maxFields = 100      // header fields of a request
)

// A requestError is a request that is refused before any handler sees it.
type requestError struct {
	status int
	text   string // for the client, and the log
}

func (e *requestError) Error() string { return e.text }

func badRequest(text string) error { return &requestError{http.StatusBadRequest, text} }

// trimBlankLines drops empty lines before a request line: RFC 9112 section 2.2.
func trimBlankLines(b []byte) []byte {
	for {
		switch {
		case bytes.HasPrefix(b, []byte("\r\n")):
			b = b[2:]
		case bytes.HasPrefix(b, []byte("\n")):
			b = b[1:]
		default:
			return b
		}
	}
}

// headEnd returns the length of the request head at the start of b, with the
// empty line that ends it, or -1 when that line is not there yet. The first
// from bytes are known not to hold its end.
func headEnd(b []byte, from int) int {
	for i := max(from-3, 0); ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n + 1
		rest := b[i:]
		switch {
		case bytes.HasPrefix(rest, []byte("\n")):
			return i + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return i + 2
		}
	}
}

// parseRequest makes a request of a whole head. The error is a *requestError.
// http.ReadRequest does the parsing; checkFields has what net/http's server
// checks besides, and what a server without request bodies can refuse.
func parseRequest(head []byte) (*http.Request, error) {
	fields, err := checkFields(head)
	if err != nil {
		return nil, err
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, badRequest("malformed request")
	}
	switch {
	case req.ProtoMajor != 1:
		return nil, &requestError{http.StatusHTTPVersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are spoken here"}
	case fields.hosts > 1:
		return nil, badRequest("more than one Host field")
	case fields.hosts == 0 && req.ProtoAtLeast(1, 1):
		return nil, badRequest("no Host field")
	case !validHost(req.Host):
		return nil, badRequest("malformed Host field")
	}
	// A body is never read: the answer goes out, and the lingering close
	// discards what the client sends. So no byte of a body is ever taken for
	// the next request. (net/http forgets a Transfer-Encoding of HTTP/1.0.)
	if req.ContentLength != 0 || fields.encodings > 0 {
		req.Close = true
	}
	req.Body, req.ContentLength, req.TransferEncoding = http.NoBody, 0, nil
	return req, nil
}

// fieldCounts says how often a head has fields that net/http does not show.
type fieldCounts struct{ hosts, encodings int }

// checkFields looks at the bytes of a head, line by line: RFC 9112 sections 3
// and 5.
func checkFields(head []byte) (counts fieldCounts, err error) {
	line, rest, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return counts, badRequest("control character in the request line")
		}
	}
	if bytes.Count(line, []byte(" ")) != 2 {
		return counts, badRequest("malformed request line")
	}
	fields := 0
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return counts, nil
		}
		if fields++; fields > maxFields {
			return counts, &requestError{http.StatusRequestHeaderFieldsTooLarge, "too many header fields"}
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || !isToken(name) { // a folded line fails here too
			return counts, badRequest("malformed header field")
		}
		for _, c := range value {
			if c < ' ' && c != '\t' || c == 0x7f {
				return counts, badRequest("control character in a header field")
			}
		}
		switch {
		case bytes.EqualFold(name, []byte("Host")):
			counts.hosts++
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			counts.encodings++
		}
	}
	return counts, nil
}

// isToken: RFC 9110 section 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		if !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// validHost tells whether every byte of a Host field may stand in one: RFC 3986
// section 3.2.2, and a port.
func validHost(host string) bool {
	for i := range len(host) {
		if c := host[i]; !isAlphanumeric(c) && strings.IndexByte("-._~%!$&'()*+,;=:[]", c) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
