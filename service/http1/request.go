package http1

import (
	"bytes"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

const (
	// MaxHead is the largest number of bytes in a request head.
	MaxHead = 16 << 10
	// MaxLine is the largest number of bytes in a request line; RFC 9112 section 3 recommends at
	// least 8000.
	MaxLine = 8 << 10
	// MaxFields is the largest number of header fields in a request.
	MaxFields = 100
)

// A RequestError is the error for a request that is rejected before any handler is called.
// The bytes after it on the connection are ignored, since the start of the next request cannot
// be determined after a malformed request.
type RequestError struct {
	Status int    // HTTP status of the response
	Text   string // for the client and the log
}

func (e *RequestError) Error() string { return e.Text }

func badRequest(text string) *RequestError { return &RequestError{http.StatusBadRequest, text} }

// TrimBlankLines returns b without empty lines before the request line: RFC 9112 section 2.2.
func TrimBlankLines(b []byte) []byte {
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

// headEnd returns the length of the request head at the start of b, including the
// empty line that ends it, or -1 if that line has not been received yet. The first
// from bytes are known not to contain the end.
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

// FindHead returns the length of the request head at the start of b, including the
// empty line that ends it, or 0 if that line has not been received yet. The first from
// bytes were examined by an earlier call. FindHead rejects an incomplete head as early as
// possible: a client of another protocol may never send an empty line. The result does not
// depend on how the bytes were split into reads.
func FindHead(b []byte, from int) (int, *RequestError) {
	if len(b) == 0 {
		return 0, nil
	}
	if bad := checkLine(b, from); bad != nil {
		return 0, bad
	}
	n := headEnd(b, from)
	switch {
	case n > MaxHead || n < 0 && len(b) >= MaxHead:
		return 0, &RequestError{http.StatusRequestHeaderFieldsTooLarge, "the request head is larger than 16 KiB"}
	case n < 0:
		return 0, nil
	}
	return n, nil
}

// checkLine rejects b if its start cannot become a valid request line.
func checkLine(b []byte, from int) *RequestError {
	if !isToken(b[:1]) && b[0] != '\r' { // \r: the start of an empty line
		return badRequest("not an HTTP request; if it is TLS, use the HTTPS port")
	}
	end := bytes.IndexByte(b, '\n')
	line := bytes.TrimSuffix(b[:max(end, 0)], []byte("\r"))
	if end < 0 {
		line = bytes.TrimSuffix(b, []byte("\r"))
	}
	switch {
	case end >= 0 && end < from: // checked by an earlier call
		return nil
	case len(line) > MaxLine:
		return tooLong(line[:MaxLine])
	case end < 0:
		return nil
	}
	return checkRequestLine(line)
}

// tooLong returns the error for a request line longer than MaxLine, by its first bytes:
// RFC 9112 section 3.
func tooLong(start []byte) *RequestError {
	method, _, ended := bytes.Cut(start, []byte(" "))
	switch {
	case !isToken(method):
		return badRequest("malformed method")
	case !ended:
		return &RequestError{http.StatusNotImplemented, "unknown method"}
	}
	return &RequestError{http.StatusRequestURITooLong, "the request line is longer than 8 KiB"}
}

// checkRequestLine checks the method and the version of a request line: RFC 9112
// section 3. It leaves the target to Head.Parse, except that a target must not be empty or contain
// control characters.
func checkRequestLine(line []byte) *RequestError {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, complete := bytes.Cut(rest, []byte(" "))
	switch {
	case !isToken(method):
		return badRequest("malformed method")
	case !complete && len(target) > 0:
		return badRequest("no version in the request line; HTTP/0.9 is not supported")
	case !complete:
		return badRequest("malformed request line")
	}
	digits, named := bytes.CutPrefix(version, []byte("HTTP/"))
	switch {
	case !named || len(digits) != 3 || !isDigit(digits[0]) || digits[1] != '.' || !isDigit(digits[2]):
		return badRequest("malformed version in the request line")
	case digits[0] != '1': // HTTP/2 begins with "PRI * HTTP/2.0"
		return &RequestError{http.StatusHTTPVersionNotSupported, "only HTTP/1.1 and HTTP/1.0 are supported"}
	case len(target) == 0 || hasControl(target):
		return badRequest("malformed target")
	case string(method) == http.MethodConnect:
		// CONNECT is not passed to handlers: a 2xx response to it opens a tunnel, and the
		// bytes after it are not a request (RFC 9110 section 9.3.6).
		return &RequestError{http.StatusNotImplemented, "CONNECT is not supported: this server is not a proxy"}
	}
	return nil
}

// IsHead reports whether a request head, which may be malformed, has the method HEAD, so that
// its response has no body: RFC 9110 section 9.3.2.
func IsHead(head []byte) bool { return bytes.HasPrefix(head, []byte("HEAD ")) }

// tokenLow and tokenHigh are bit sets of the characters of a token below 64 and above: RFC 9110
// section 5.6.2.
const (
	tokenLow  = 0x03ff<<'0' | 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.'
	tokenHigh = 0x03ffffff<<('A'-64) | 0x03ffffff<<('a'-64) | 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64)
)

// isToken reports whether b is a token.
func isToken(b []byte) bool {
	for _, c := range b {
		if c < 64 && uint64(tokenLow)>>c&1 == 0 || c >= 64 && (c >= 128 || uint64(tokenHigh)>>(c-64)&1 == 0) {
			return false
		}
	}
	return len(b) > 0
}

// validHost reports whether host is valid: a name or an address, and an optional port, RFC 9110
// section 7.2 and RFC 3986 section 3.2.2. It is empty if the target has no host. An IPv6
// address may have a zone.
func validHost(host string) bool {
	name, port, _ := strings.Cut(host, ":")
	if literal, bracketed := strings.CutPrefix(host, "["); bracketed {
		var closed bool
		if name, port, closed = strings.Cut(literal, "]"); !closed || name == "" || port != "" && port[0] != ':' {
			return false
		}
		port = strings.TrimPrefix(port, ":")
		address, zone, zoned := strings.Cut(name, "%")
		if zoned {
			ip, err := netip.ParseAddr(address)
			if err != nil || !ip.Is6() {
				return false
			}
			// RFC 6874 requires "%25" before the zone. Python's urllib, aiohttp and .NET send
			// the user's text, with "%" alone, so "%25" may mean interface 25.
			if rest, escaped := strings.CutPrefix(zone, "25"); escaped && rest != "" {
				zone = rest
			}
			if zone == "" {
				return false
			}
			name = zone
		} else {
			name = strings.ReplaceAll(name, ":", "")
		}
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && strings.IndexByte("-._~%!$&'()*+,;=", c) < 0 {
			return false
		}
	}
	_, err := url.PathUnescape(name)
	return err == nil && (port == "" || isDigits([]byte(port)))
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlphanumeric(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// hasControl reports whether b has a control character, which is invalid in a target and in a
// field value.
func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
