package files

import (
	"net/http"
	"strings"
	"time"
)

// conditions are the header fields of a request that select the status and the part of a file.
type conditions struct {
	match, unmodifiedSince, noneMatch, modifiedSince field // RFC 9110, section 13.1
	ifRange, ranges                                  field // If-Range and Range
}

// A field is a header field of a request. Several lines are one list, RFC 9110, section 5.3.
type field struct {
	value string
	lines int // 0: the field is absent
}

func (f field) present() bool { return f.lines > 0 }

// conditionsOf returns the conditions of a request with this header.
func conditionsOf(header http.Header) *conditions {
	get := func(name string) field {
		lines := header[name]
		return field{strings.Join(lines, ", "), len(lines)}
	}
	return &conditions{
		match: get("If-Match"), unmodifiedSince: get("If-Unmodified-Since"),
		noneMatch: get("If-None-Match"), modifiedSince: get("If-Modified-Since"),
		ifRange: get("If-Range"), ranges: get("Range"),
	}
}

// precondition evaluates the conditions of a GET or HEAD in the order of RFC 9110, section
// 13.2.2, and returns the status: 412, 304, or 200 if they hold. If-Range is handled by
// resumes. The date of a file in an image does not cause a 304: in the next image it may be
// the same.
func precondition(q *conditions, tag string, modified time.Time, from origin) int {
	if q.match.present() {
		if !listsTag(q.match.value, tag, strongly) {
			return http.StatusPreconditionFailed
		}
	} else if q.unmodifiedSince.present() {
		// A malformed date, and several dates, are ignored: sections 13.1.3 and 13.1.4.
		if date, err := http.ParseTime(q.unmodifiedSince.value); err == nil && modified.Unix() > date.Unix() {
			return http.StatusPreconditionFailed
		}
	}
	if q.noneMatch.present() {
		if listsTag(q.noneMatch.value, tag, weakly) {
			return http.StatusNotModified
		}
	} else if q.modifiedSince.present() && !from.image {
		if date, err := http.ParseTime(q.modifiedSince.value); err == nil && modified.Unix() <= date.Unix() {
			return http.StatusNotModified
		}
	}
	return http.StatusOK
}

// resumes reports whether a Range applies to a file with this entity tag and modification
// time, according to the If-Range of the request: RFC 9110, section 13.1.5. A date identifies
// a single content only when its second is over (section 8.8.2.2), and never for a file with a
// time in the future, whose Last-Modified is the time of the request, nor for a file whose
// timestamps were set by a tool.
func resumes(q *conditions, tag string, modified, now time.Time, from origin) bool {
	value := q.ifRange.value
	switch {
	case !q.ifRange.present():
		return true
	case strings.HasPrefix(value, `"`):
		return value == tag
	}
	date, err := http.ParseTime(value) // a weak tag does not parse as a date
	return err == nil && from.hash == "" && date.Unix() == modified.Unix() && modified.Unix() < now.Unix()
}

// comparison selects a comparison function of RFC 9110, section 8.8.3.2.
type comparison int

const (
	strongly comparison = iota // a weak tag in the list matches nothing
	weakly
)

// listsTag reports whether the value of If-Match or If-None-Match is "*", or lists tag, a
// strong entity tag. A list ends at its first malformed element.
func listsTag(value, tag string, how comparison) bool {
	if strings.Trim(value, " \t") == "*" {
		return true
	}
	for {
		value = strings.TrimLeft(value, " \t,") // empty elements are ignored: section 5.6.1.2
		opaque, weak := strings.CutPrefix(value, "W/")
		end := tagLength(opaque)
		if end == 0 {
			return false
		}
		value = strings.TrimLeft(opaque[end:], " \t")
		if value != "" && value[0] != ',' {
			return false
		}
		if opaque[:end] == tag && !(weak && how == strongly) {
			return true
		}
	}
}

// tagLength returns the length in bytes of the opaque-tag at the start of s, including its
// quotes, or 0 if there is none: RFC 9110, section 8.8.3. The tag may contain commas.
func tagLength(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < 0x21 || c == 0x7f:
			return 0
		}
	}
	return 0
}
