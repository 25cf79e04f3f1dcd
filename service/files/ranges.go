package files

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// maxSpans bounds how many ranges one response has. A request for more gets the
// whole file, as RFC 9110, section 14.2, allows. Update clients ask for many at a time, and
// some do not go on after a 200: SWUpdate's delta handler for 150 by default, zchunk for 255,
// dnf for 256.
//
// The part headers of so many are below 52 KiB (TestPartHeaders), and so below the 64 KiB of
// memory that package service has for a response.
const maxSpans = 256

// span is a part of a file, in bytes; its length is above 0.
type span struct {
	start, length int64
}

// contentRange returns the value of Content-Range for a file of size bytes.
func (s span) contentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", s.start, s.start+s.length-1, size)
}

// errRange is the error for a Range that RFC 9110, section 14.1, has no meaning
// for.
var errRange = errors.New("files: malformed Range")

// isByteRange reports whether the value of a Range header counts in bytes. Any
// other unit is to be ignored, RFC 9110, section 14.2.
func isByteRange(value string) bool {
	unit, _, ok := strings.Cut(value, "=")
	return ok && strings.EqualFold(unit, "bytes")
}

// rangesOf returns the spans that the Range of a request asks of a file of size bytes, nil if
// it has none that counts, and an empty list if all lie behind the end. The error is errRange.
//
// Several lines are one list, RFC 9110, section 5.3, which is right for one range set that was
// split at its commas. Where each line is a whole Range, the second "bytes=" is malformed in
// the list. That was most likely put together by something between the client and here, and
// all of it is ignored, which section 14.2 allows, while one malformed line is an error.
func rangesOf(header http.Header, size int64) ([]span, error) {
	value, _ := fieldValue(header, "Range")
	if !isByteRange(value) {
		return nil, nil
	}
	spans, err := parseRange(value, size)
	switch {
	case err != nil && len(header["Range"]) > 1:
		return nil, nil
	case err == nil && spans == nil:
		spans = []span{}
	}
	return spans, err
}

// parseRange returns the spans that a byte range asks of a file of size bytes, in
// the order asked for. What lies behind the file's end is left out; if that is
// all, there are none. Its one error is errRange.
func parseRange(value string, size int64) ([]span, error) {
	_, list, _ := strings.Cut(value, "=")
	var spans []span
	given := false
	for item := range strings.SplitSeq(list, ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			continue // RFC 9110, section 5.6.1.2: empty elements do not count
		}
		given = true
		first, last, ok := strings.Cut(item, "-")
		if !ok {
			return nil, errRange
		}
		s, ok := parseSpan(strings.Trim(first, " \t"), strings.Trim(last, " \t"), size)
		if !ok {
			return nil, errRange
		}
		if s.length > 0 {
			spans = append(spans, s)
		}
	}
	if !given {
		return nil, errRange
	}
	return spans, nil
}

// parseSpan returns what "first-last" means, of length 0 if nothing of it is in
// the file.
func parseSpan(first, last string, size int64) (span, bool) {
	if first == "" {
		n, ok := position(last)
		n = min(n, size)
		return span{size - n, n}, ok
	}
	start, ok := position(first)
	if !ok {
		return span{}, false
	}
	end := size - 1
	if last != "" {
		n, ok := position(last)
		if !ok || n < start {
			return span{}, false
		}
		end = min(end, n)
	}
	if start > end {
		return span{}, true
	}
	return span{start, end - start + 1}, true
}

// position reads digits. What does not fit lies behind the end of every file.
func position(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, _ := strconv.ParseInt(s, 10, 64) // the one error left is ErrRange, with the largest int64
	return n, true
}

// worthwhile reports whether sending spans costs no more than the whole file.
func worthwhile(spans []span, size int64) bool {
	if len(spans) > maxSpans {
		return false
	}
	left := size
	for _, s := range spans {
		if left -= s.length; left < 0 {
			return false
		}
	}
	return true
}
