package files

import (
	"errors"
	"strconv"
	"strings"
)

// maxSpans is the largest number of ranges in one response. A request for more gets the whole
// file, as RFC 9110, section 14.2, allows. Update clients request many ranges at a time, and
// some fail on a 200: SWUpdate's delta handler requests 150 by default, zchunk 255, dnf 256.
//
// The part headers of 256 ranges are below 52 KiB (TestPartHeadersFitIntoMemory), and so below the 64 KiB
// of memory that package service has for a response.
const maxSpans = 256

// span is a part of a file, in bytes; its length is above 0.
type span struct {
	start, length int64
}

// contentRange returns the value of Content-Range for a file of size bytes.
func (s span) contentRange(size int64) string { return string(s.appendContentRange(nil, size)) }

// appendContentRange appends the value of Content-Range to b.
func (s span) appendContentRange(b []byte, size int64) []byte {
	b = strconv.AppendInt(append(b, "bytes "...), s.start, 10)
	b = strconv.AppendInt(append(b, '-'), s.start+s.length-1, 10)
	return strconv.AppendInt(append(b, '/'), size, 10)
}

// errRange is the error for a Range that is malformed by RFC 9110, section 14.1.
var errRange = errors.New("files: malformed Range")

// isByteRange reports whether the unit of a Range header is bytes. Any other unit must be
// ignored, RFC 9110, section 14.2.
func isByteRange(value string) bool {
	unit, _, ok := strings.Cut(value, "=")
	return ok && strings.EqualFold(unit, "bytes")
}

// rangesOf returns the spans that the Range of a request selects from a file of size bytes:
// nil if the request has no Range that applies, and an empty list if all ranges start beyond
// the end of the file. The list uses the capacity of room. The error is errRange.
//
// Several header lines are one list, RFC 9110, section 5.3, which is correct for one range set
// that was split at its commas. If each line is a complete Range, the second "bytes=" is
// malformed in the list. Most likely an intermediary combined such a request, and the Range is
// ignored, which section 14.2 allows, while a single malformed line is an error.
func rangesOf(q *conditions, size int64, room []span) ([]span, error) {
	if !isByteRange(q.ranges.value) {
		return nil, nil
	}
	spans, err := parseRange(q.ranges.value, size, room)
	switch {
	case err != nil && q.ranges.lines > 1:
		return nil, nil
	case err == nil && spans == nil:
		spans = []span{}
	}
	return spans, err
}

// parseRange returns the spans that a byte range selects from a file of size bytes, in the
// requested order. Parts beyond the end of the file are omitted; if nothing is left, the list
// is empty. It uses the capacity of room. The only error is errRange.
func parseRange(value string, size int64, room []span) ([]span, error) {
	_, list, _ := strings.Cut(value, "=")
	spans := room[:0]
	given := false
	for item := range strings.SplitSeq(list, ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			continue // RFC 9110, section 5.6.1.2: empty elements are ignored
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

// parseSpan returns the span that "first-last" selects, with length 0 if no byte of it is in
// the file, and reports whether the range is well-formed.
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

// position parses a decimal number. A number that overflows is the largest int64, beyond the
// end of every file.
func position(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, _ := strconv.ParseInt(s, 10, 64) // the only possible error is ErrRange, with the largest int64
	return n, true
}

// worthwhile reports whether spans are at most maxSpans and together no longer than the file.
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
