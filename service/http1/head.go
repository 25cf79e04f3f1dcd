package http1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A Head is a parsed request head. Its byte slices are parts of the bytes that were parsed. The zero
// value is ready for Parse, which can be called again.
type Head struct {
	Method string
	Target []byte // the request target, as received
	Path   []byte // path of a target in origin-form, not decoded; nil for any other form
	Minor  int    // HTTP/1.Minor
	Host   []byte // value of the Host field
	Fields []Field

	// Close reports whether the connection ends after the response: the client asks for it, or
	// announces a request body. A request body is never read: the response is sent, and the
	// lingering close discards the body. Therefore no byte of a body is parsed as the next
	// request, and a client that expects 100-continue does not wait for it: RFC 9110 section
	// 10.1.1 allows a final status instead.
	Close bool

	head    []byte
	url     *url.URL // of a target that is not in origin-form
	hosts   int      // number of Host fields
	length  []byte   // value of the first Content-Length; nil if there is none
	lengths bool     // another Content-Length has another value
	coding  []byte   // value of the last Transfer-Encoding
	coded   int      // number of Transfer-Encoding fields
	conn    connection
}

// A Field is a header field, without white space around its value.
type Field struct {
	Name, Value []byte
	name, value int // where they begin in the head
}

// connection is the meaning of the Connection fields: RFC 9110 section 7.6.1.
type connection struct{ close, keepAlive bool }

// Parse parses a complete head, for which FindHead returned its length. It keeps the capacity of
// h.Fields, and if that suffices, allocates nothing for a usual request. It rejects the requests
// that net/http's server rejects, and those that a server without request bodies may reject.
func (h *Head) Parse(head []byte) *RequestError {
	*h = Head{Fields: h.Fields[:0], head: head}
	line, rest, _ := bytes.Cut(head, []byte("\n"))
	if bad := h.parseLine(trimCR(line)); bad != nil {
		return bad
	}
	for len(rest) > 0 {
		at := len(head) - len(rest)
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if line = trimCR(line); len(line) == 0 {
			break
		}
		if len(h.Fields) == MaxFields {
			return &RequestError{http.StatusRequestHeaderFieldsTooLarge, "more than 100 header fields"}
		}
		if bad := h.parseField(line, at); bad != nil {
			return bad
		}
	}
	return h.check()
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// parseLine parses the request line: RFC 9112 section 3.
func (h *Head) parseLine(line []byte) *RequestError {
	if bad := checkRequestLine(line); bad != nil {
		return bad
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	h.Method, h.Target, h.Minor = methodOf(method), target, int(version[len(version)-1]-'0')
	if target[0] == '/' {
		h.Path = target
		if i := bytes.IndexByte(target, '?'); i >= 0 {
			h.Path = target[:i]
		}
	}
	return nil
}

// methodOf is string(b), without an allocation for common methods.
func methodOf(b []byte) string {
	switch string(b) {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodHead:
		return http.MethodHead
	case http.MethodOptions:
		return http.MethodOptions
	case http.MethodPost:
		return http.MethodPost
	}
	return string(b)
}

// validEscapes reports whether each '%' of a path begins a percent-encoded byte.
func validEscapes(path []byte) bool {
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return true
		}
		if len(path) < i+3 || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return false
		}
		path = path[i+3:]
	}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// parseField parses a line of the header section, which begins at an offset of the head: RFC
// 9112 section 5.
func (h *Head) parseField(line []byte, at int) *RequestError {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) { // a folded line is rejected here too, as RFC 9112 section 5.2 allows
		return badRequest("malformed header field")
	}
	value = bytes.TrimLeft(value, " \t")
	start := at + len(line) - len(value)
	value = bytes.TrimRight(value, " \t")
	if hasControl(value) {
		return badRequest("control character in a header field")
	}
	h.Fields = append(h.Fields, Field{name, value, at, start})
	switch {
	case is(name, "host"):
		h.hosts++
		h.Host = value
	case is(name, "connection"):
		h.conn.add(value)
	case is(name, "content-length"):
		switch {
		case !isDigits(value):
			return badRequest("malformed Content-Length")
		case h.length == nil:
			h.length = value
		case !bytes.Equal(h.length, value):
			h.lengths = true
		}
	case is(name, "transfer-encoding"):
		h.coded++
		h.coding = value
	}
	return nil
}

// is reports whether a field has a name, which is in lower case.
func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range name {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// add adds the options of one Connection field.
func (c *connection) add(list []byte) {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte(","))
		item = bytes.Trim(item, " \t")
		switch {
		case is(item, "close"):
			c.close = true
		case is(item, "keep-alive"):
			c.keepAlive = true
		}
	}
}

// check checks the head as a whole.
func (h *Head) check() *RequestError {
	old := h.Minor == 0
	switch {
	case h.hosts > 1:
		return badRequest("more than one Host field")
	case h.coded > 0 && !old: // HTTP/1.0 does not define Transfer-Encoding: RFC 9112 section 6.1
		if bad := h.checkEncoding(); bad != nil {
			return bad
		}
	}
	if bad := h.checkTarget(); bad != nil {
		return bad
	}
	switch {
	case h.lengths || tooLarge(h.length):
		return badRequest("malformed Content-Length")
	case h.hosts == 0 && !old:
		return badRequest("no Host field")
	case !plainHost(h.Host) && !validHost(string(h.Host)):
		return badRequest("malformed Host field, or host in the target")
	case !h.validExpectations():
		return &RequestError{http.StatusExpectationFailed, "the only supported expectation is 100-continue"}
	}
	h.Close = h.conn.close || old && !h.conn.keepAlive || h.coded > 0 || !allZeros(h.length)
	return nil
}

// checkEncoding checks the transfer codings of a request: RFC 9112 sections 6.1 and 6.3.
func (h *Head) checkEncoding() *RequestError {
	if h.coded > 1 || !is(h.coding, "chunked") {
		var all []string
		for _, f := range h.Fields {
			if is(f.Name, "transfer-encoding") {
				all = append(all, string(f.Value))
			}
		}
		return checkCodings(strings.Join(all, ","))
	}
	for _, f := range h.Fields {
		if is(f.Name, "trailer") && !validTrailer(f.Value) {
			return badRequest("malformed Trailer field")
		}
	}
	return nil
}

// checkCodings returns the error for a list of transfer codings that is not just chunked.
func checkCodings(list string) *RequestError {
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
	if chunked != 1 || !last {
		return badRequest("the length of the request body is unknown: chunked must be the last transfer coding, once")
	}
	return &RequestError{http.StatusNotImplemented, "chunked is the only supported transfer coding"}
}

// validTrailer reports whether a Trailer field names only fields that may be in a trailer: RFC
// 9110 section 6.5.1.
func validTrailer(list []byte) bool {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte(","))
		item = bytes.Trim(item, " \t")
		if is(item, "transfer-encoding") || is(item, "trailer") || is(item, "content-length") {
			return false
		}
	}
	return true
}

// checkTarget checks the target: RFC 9112 section 3.2, and RFC 9110 sections 4.2.1 (an empty
// host is invalid) and 4.2.4 (user information is invalid).
func (h *Head) checkTarget() *RequestError {
	if h.Path != nil {
		if !validEscapes(h.Path) || bytes.IndexByte(h.Target, '\t') >= 0 {
			return badRequest("malformed target")
		}
		return nil
	}
	target, valid := dropZone(h.Target)
	if !valid {
		return badRequest("malformed Host field, or host in the target")
	}
	u, err := url.ParseRequestURI(string(target))
	if err != nil {
		return badRequest("malformed target")
	}
	valid = (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.Opaque == "" && u.User == nil
	switch {
	case string(target) == "*":
		valid = h.Method == http.MethodOptions
	case !validHost(u.Host):
		return badRequest("malformed Host field, or host in the target")
	}
	if !valid {
		return badRequest("malformed target; use a path, an http or https URL, or * with OPTIONS")
	}
	h.Target, h.url = target, u
	return nil
}

// dropZone returns target without the zone of an IPv6 address in its authority, and reports
// whether the authority, with its zone, is valid; without a zone it returns target and true. The
// zone has a meaning only for the client (RFC 6874 section 1), and it depends on the interface
// name's resemblance to percent-encoding whether net/url accepts it.
func dropZone(target []byte) ([]byte, bool) {
	scheme, rest, ok := bytes.Cut(target, []byte("://["))
	if !ok || len(scheme) == 0 || bytes.ContainsAny(scheme, "/?#") {
		return target, true // not the authority
	}
	authority := rest
	if end := bytes.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	from, to := bytes.IndexByte(authority, '%'), bytes.IndexByte(authority, ']')
	if from < 0 || to < from {
		return target, true
	}
	start := len(target) - len(rest)
	return slices.Concat(target[:start+from], target[start+to:]), validHost("[" + string(authority))
}

// tooLarge reports whether digits are a number of more than 63 bits.
func tooLarge(digits []byte) bool {
	if len(digits) <= 18 {
		return false
	}
	_, err := strconv.ParseUint(string(digits), 10, 63)
	return err != nil
}

func allZeros(digits []byte) bool {
	for _, c := range digits {
		if c != '0' {
			return false
		}
	}
	return true
}

// plainHost reports whether host is empty, or letters, digits, "." and "-" with an optional port,
// as nearly all are. validHost knows the others.
func plainHost(host []byte) bool {
	for i, c := range host {
		switch {
		case isAlphanumeric(c) || c == '.' || c == '-':
		case c == ':':
			return i+1 == len(host) || isDigits(host[i+1:])
		default:
			return false
		}
	}
	return true
}

// validExpectations reports whether the Expect fields contain only 100-continue: RFC 9110 section
// 10.1.1.
func (h *Head) validExpectations() bool {
	for _, f := range h.Fields {
		if !is(f.Name, "expect") {
			continue
		}
		for list := f.Value; len(list) > 0; {
			var item []byte
			item, list, _ = bytes.Cut(list, []byte(","))
			if item = bytes.Trim(item, " \t"); len(item) > 0 && !is(item, "100-continue") {
				return false
			}
		}
	}
	return true
}

// ParseRequest returns the request of a complete head. The error is a *RequestError.
func ParseRequest(head []byte) (*http.Request, error) {
	h := Head{Fields: make([]Field, 0, 10)} // clients rarely send more
	if bad := h.Parse(head); bad != nil {
		return nil, bad
	}
	return h.Request(), nil
}

// Request returns the request as http.ReadRequest would, without a body. It copies all that it
// needs of the head's bytes.
func (h *Head) Request() *http.Request {
	target := string(h.Target)
	u := h.url
	if u == nil {
		var err error
		if u, err = url.ParseRequestURI(target); err != nil {
			panic("http1: " + err.Error()) // checkTarget accepted it
		}
	}
	text := string(h.head) // one copy for all fields
	header, values := make(http.Header, len(h.Fields)), make([]string, len(h.Fields))
	for i, f := range h.Fields {
		name := textproto.CanonicalMIMEHeaderKey(text[f.name : f.name+len(f.Name)])
		values[i] = text[f.value : f.value+len(f.Value)]
		if first, ok := header[name]; ok {
			header[name] = append(first, values[i])
		} else {
			header[name] = values[i : i+1 : i+1]
		}
	}
	if pragma := header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && header["Cache-Control"] == nil {
		header["Cache-Control"] = []string{"no-cache"} // RFC 9111 section 5.4
	}
	delete(header, "Host")
	delete(header, "Transfer-Encoding")
	if chunked := h.coded > 0 && h.Minor > 0; chunked {
		delete(header, "Content-Length")
		delete(header, "Trailer")
	} else if lengths := header["Content-Length"]; len(lengths) > 1 {
		header["Content-Length"] = lengths[:1]
	}
	host := u.Host
	if host == "" {
		host = string(h.Host)
	}
	return &http.Request{
		Method: h.Method, URL: u, RequestURI: target, Host: host, Header: header, Body: http.NoBody, Close: h.Close,
		Proto: "HTTP/1." + strconv.Itoa(h.Minor), ProtoMajor: 1, ProtoMinor: h.Minor,
	}
}
