package files

import (
	"net/http"
	"strings"
	"time"
)

// fieldValue returns the value of a header field, and reports whether the field is present.
// Several lines of a field are one list, RFC 9110, section 5.3.
func fieldValue(header http.Header, name string) (value string, present bool) {
	lines := header[name]
	return strings.Join(lines, ", "), len(lines) > 0
}

// precondition evaluates the conditions of a GET or HEAD in the order of RFC 9110, section
// 13.2.2, and returns the status: 412, 304, or 200 if they hold. If-Range is handled by
// resumes. The date of a file in an image does not cause a 304: in the next image it may be
// the same.
func precondition(header http.Header, tag string, modified time.Time, from origin) int {
	if value, present := fieldValue(header, "If-Match"); present {
		if !listsTag(value, tag, strongly) {
			return http.StatusPreconditionFailed
		}
	} else if value, present := fieldValue(header, "If-Unmodified-Since"); present {
		// A malformed date, and several dates, are ignored: sections 13.1.3 and 13.1.4.
		if date, err := http.ParseTime(value); err == nil && modified.Unix() > date.Unix() {
			return http.StatusPreconditionFailed
		}
	}
	if value, present := fieldValue(header, "If-None-Match"); present {
		if listsTag(value, tag, weakly) {
			return http.StatusNotModified
		}
	} else if value, present := fieldValue(header, "If-Modified-Since"); present && !from.image {
		if date, err := http.ParseTime(value); err == nil && modified.Unix() <= date.Unix() {
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
func resumes(header http.Header, tag string, modified, now time.Time, from origin) bool {
	value, present := fieldValue(header, "If-Range")
	switch {
	case !present:
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
