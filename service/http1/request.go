package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
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
// section 3. It leaves the target to http.ReadRequest and validTarget, except that a target must
// not be empty or contain control characters.
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
	case len(target) == 0 || bytes.ContainsFunc(target, isControl):
		return badRequest("malformed target")
	case string(method) == http.MethodConnect:
		// CONNECT is not passed to handlers: a 2xx response to it opens a tunnel, and the
		// bytes after it are not a request (RFC 9110 section 9.3.6).
		return &RequestError{http.StatusNotImplemented, "CONNECT is not supported: this server is not a proxy"}
	}
	return nil
}

// ParseRequest returns the request of a complete head. The error is a *RequestError.
// http.ReadRequest does the parsing; ParseRequest adds the checks of net/http's server, and
// rejects requests that a server without request bodies may reject.
func ParseRequest(head []byte) (*http.Request, error) {
	fields, bad := checkHead(head)
	if bad != nil {
		return nil, bad
	}
	head, valid := dropZone(head)
	if !valid {
		return nil, badRequest("malformed Host field, or host in the target")
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, badRequest("malformed request")
	}
	switch {
	case fields.hosts == 0 && req.ProtoAtLeast(1, 1):
		return nil, badRequest("no Host field")
	case !validHost(fields.host) || !validHost(req.Host): // the target's host has precedence, but both must be valid
		return nil, badRequest("malformed Host field, or host in the target")
	case !validTarget(req):
		return nil, badRequest("malformed target; use a path, an http or https URL, or * with OPTIONS")
	case !validExpectations(req.Header["Expect"]):
		return nil, &RequestError{http.StatusExpectationFailed, "the only supported expectation is 100-continue"}
	}
	// A request body is never read: the response is sent, and the lingering close
	// discards the body. Therefore no byte of a body is parsed as the next request, and a
	// client that expects 100-continue does not wait for it: RFC 9110 section 10.1.1 allows a
	// final status instead. (net/http drops a Transfer-Encoding of HTTP/1.0, hence
	// fields.encoded.)
	if req.ContentLength != 0 || fields.encoded {
		req.Close = true
	}
	req.Body, req.ContentLength, req.TransferEncoding = http.NoBody, 0, nil
	return req, nil
}

// headFields holds the header fields of a head that net/http does not expose.
type headFields struct {
	hosts    int    // number of Host fields
	host     string // value of the last Host field
	encoded  bool   // there is a Transfer-Encoding
	encoding string // all Transfer-Encoding fields, as one list
}

// checkHead checks the bytes of a head line by line: RFC 9112 sections 3, 5
// and 6.
func checkHead(head []byte) (fields headFields, bad *RequestError) {
	line, rest, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if bad := checkRequestLine(line); bad != nil {
		return fields, bad
	}
	old := bytes.HasSuffix(line, []byte("HTTP/1.0"))
	for n := 0; len(rest) > 0; {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			break
		}
		if n++; n > MaxFields {
			return fields, &RequestError{http.StatusRequestHeaderFieldsTooLarge, "more than 100 header fields"}
		}
		if bad := fields.add(line); bad != nil {
			return fields, bad
		}
	}
	switch {
	case fields.hosts > 1:
		return fields, badRequest("more than one Host field")
	case fields.encoded && !old: // HTTP/1.0 does not define Transfer-Encoding: RFC 9112 section 6.1
		return fields, checkEncoding(fields.encoding)
	}
	return fields, nil
}

// add checks and adds one line of a head.
func (f *headFields) add(line []byte) *RequestError {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) { // a folded line is rejected here too, as RFC 9112 section 5.2 allows
		return badRequest("malformed header field")
	}
	value = bytes.Trim(value, " \t")
	if bytes.ContainsFunc(value, isControl) {
		return badRequest("control character in a header field")
	}
	switch strings.ToLower(string(name)) {
	case "host":
		f.hosts++
		f.host = string(value)
	case "content-length":
		// http.ReadRequest compares repeated fields and checks the range. With a GODEBUG
		// setting it accepts an empty value.
		if !isDigits(value) {
			return badRequest("malformed Content-Length")
		}
	case "transfer-encoding":
		if f.encoded {
			f.encoding += ","
		}
		f.encoded = true
		f.encoding += string(value)
	}
	return nil
}

// checkEncoding checks the transfer codings of a request: RFC 9112 sections
// 6.1 and 6.3.
func checkEncoding(list string) *RequestError {
	chunked, last := 0, false
	for coding := range strings.SplitSeq(list, ",") {
		coding = strings.Trim(coding, " \t")
		if coding == "" {
			continue
		}
		if last = strings.EqualFold(coding, "chunked"); last {
			chunked++
		}
	}
	switch {
	case chunked != 1 || !last:
		return badRequest("the length of the request body is unknown: chunked must be the last transfer coding, once")
	case !strings.EqualFold(list, "chunked"):
		return &RequestError{http.StatusNotImplemented, "chunked is the only supported transfer coding"}
	}
	return nil
}

// validTarget reports whether the target of a request is valid: RFC 9112 section 3.2, and
// RFC 9110 sections 4.2.1 (an empty host is invalid) and 4.2.4 (user information is invalid).
func validTarget(req *http.Request) bool {
	u := req.URL
	switch {
	case req.RequestURI == "*":
		return req.Method == http.MethodOptions
	case u.Scheme == "":
		return u.Host == "" && u.Opaque == ""
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.Opaque == "" && u.User == nil
}

// validExpectations reports whether the Expect fields of a request contain only 100-continue:
// RFC 9110 section 10.1.1.
func validExpectations(values []string) bool {
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.Trim(item, " \t"); item != "" && !strings.EqualFold(item, "100-continue") {
				return false
			}
		}
	}
	return true
}

// IsHead reports whether a request head, which may be malformed, has the method HEAD, so that
// its response has no body: RFC 9110 section 9.3.2.
func IsHead(head []byte) bool { return bytes.HasPrefix(head, []byte("HEAD ")) }

// isToken reports whether b is a token: RFC 9110 section 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		if !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// dropZone returns head without the zone of an IPv6 address in its target, and reports whether
// the target's authority, with its zone, is valid; without a zone it returns head and true. The
// zone has a meaning only for the client (RFC 6874 section 1), and it depends on the interface
// name's resemblance to percent-encoding whether http.ReadRequest accepts it.
func dropZone(head []byte) ([]byte, bool) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	scheme, rest, ok := bytes.Cut(line, []byte("://["))
	_, target, _ := bytes.Cut(scheme, []byte(" "))
	if !ok || len(target) == 0 || bytes.ContainsAny(target, "/?# ") {
		return head, true // not the authority of the target
	}
	authority := rest
	if end := bytes.IndexAny(rest, "/?# "); end >= 0 {
		authority = rest[:end]
	}
	from, to := bytes.IndexByte(authority, '%'), bytes.IndexByte(authority, ']')
	if from < 0 || to < from {
		return head, true
	}
	start := len(line) - len(rest)
	return slices.Concat(head[:start+from], head[start+to:]), validHost("[" + string(authority))
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

// isControl reports whether c is a control character that is invalid in a target and in a
// field value.
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
