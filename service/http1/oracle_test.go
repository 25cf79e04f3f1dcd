package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
)

// The parser that this package had before its own: http.ReadRequest, and the checks that net/http's
// server adds. It is the oracle of TestHeadAgreesWithNetHTTP and
// FuzzHeadAgreesWithNetHTTP.

// oracleParse returns the request of a complete head. The error is a *RequestError.
// http.ReadRequest does the parsing; oracleParse adds the checks of net/http's server, and
// rejects requests that a server without request bodies may reject.
func oracleParse(head []byte) (*http.Request, error) {
	fields, bad := checkHead(head)
	if bad != nil {
		return nil, bad
	}
	head, valid := oracleDropZone(head)
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
	if !ok || !oracleToken(name) { // a folded line is rejected here too, as RFC 9112 section 5.2 allows
		return badRequest("malformed header field")
	}
	value = bytes.Trim(value, " \t")
	if oracleControl(value) {
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

// oracleDropZone returns head without the zone of an IPv6 address in its target, and reports whether
// the target's authority, with its zone, is valid; without a zone it returns head and true. The
// zone has a meaning only for the client (RFC 6874 section 1), and it depends on the interface
// name's resemblance to percent-encoding whether http.ReadRequest accepts it.
func oracleDropZone(head []byte) ([]byte, bool) {
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

func oracleToken(b []byte) bool {
	for _, c := range b {
		if !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

func oracleControl(b []byte) bool {
	return bytes.ContainsFunc(b, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}
