package files

import (
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// serveFile answers with file, which stays the caller's.
func serveFile(w http.ResponseWriter, r *http.Request, file *File) {
	header := w.Header()
	header.Set("Content-Type", contentType(file.name))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Etag", file.stat.etag())
	now := time.Now()
	modified := lastModified(file.stat.modified.time(), now)
	header.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))

	r, asked := takeRange(r)
	if !mayResume(r.Header.Get("If-Range"), modified, now) {
		asked = ""
	}
	switch verdict(header, r, file, modified, asked) {
	case http.StatusPreconditionFailed:
		dropFile(header)
		fail(w, r, http.StatusPreconditionFailed, "precondition failed: the file is another than the condition names")
	case http.StatusPartialContent:
		serveSpans(w, r, file, modified, asked)
	default: // the whole file, or 304
		http.ServeContent(w, r, file.name, modified, section(file))
	}
}

// section returns the whole file in the shape that a ResponseWriter can see
// through.
func section(file *File) *io.SectionReader { return io.NewSectionReader(file, 0, file.Size()) }

// lastModified returns the time to give to clients. On a board without a clock
// of its own files can come from the future, and RFC 9110, section 8.8.2.1, has
// no Last-Modified later than Date.
func lastModified(modified, now time.Time) time.Time {
	if modified.After(now) {
		return now
	}
	return modified
}

// mayResume tells whether the validator of an If-Range can be one that names a
// single content. A date is only when its second is over (RFC 9110 sections
// 13.1.5 and 8.8.2.2), and never for a file from the future, whose Last-Modified
// is that of the request. The rest is http.ServeContent's to compare.
func mayResume(ifRange string, modified, now time.Time) bool {
	isTag := strings.HasPrefix(ifRange, `"`) || strings.HasPrefix(ifRange, "W/")
	return ifRange == "" || isTag || modified.Unix() < now.Unix()
}

// dropFile takes back what belongs to a file but not to an error about it.
func dropFile(header http.Header) {
	header.Del("Etag")
	header.Del("Last-Modified")
}

// takeRange returns the request without its Range, and that Range if it is one
// to act upon, else "". Only GET has ranges (RFC 9110, section 14.2), though
// http.ServeContent knows them for HEAD as well.
func takeRange(r *http.Request) (*http.Request, string) {
	values := r.Header["Range"]
	if len(values) == 0 {
		return r, ""
	}
	if r.Method != http.MethodGet || len(values) > 1 || !isByteRange(values[0]) {
		return withRange(r, ""), ""
	}
	return withRange(r, ""), values[0]
}

// withRange returns a copy of r with another Range, or without one.
func withRange(r *http.Request, value string) *http.Request {
	changed := *r
	changed.Header = r.Header.Clone()
	changed.Header.Del("Range")
	if value != "" {
		changed.Header.Set("Range", value)
	}
	return &changed
}

// verdict returns the status that the conditions of r lead to: 304, 412, 206 if
// the range asked for, which may be "", is to be looked at, else 200.
// http.ServeContent decides, on a response that goes nowhere: by itself it would
// send 412 and 416 without a length, and several ranges through a pipe.
func verdict(header http.Header, r *http.Request, file *File, modified time.Time, asked string) int {
	if asked != "" {
		r = withRange(r, "bytes=0-0")
	}
	head := *r
	head.Method = http.MethodHead
	answer := &nowhere{header: header.Clone()}
	http.ServeContent(answer, &head, file.name, modified, section(file))
	return answer.status
}

// nowhere is a ResponseWriter that keeps only the status.
type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(status int)      { n.status = status }

// serveSpans answers with what the byte range asked means.
func serveSpans(w http.ResponseWriter, r *http.Request, file *File, modified time.Time, asked string) {
	spans, err := parseRange(asked, file.Size())
	switch {
	case err != nil:
		unsatisfiable(w, r, file, "malformed range")
	case len(spans) == 0:
		unsatisfiable(w, r, file, "range behind the end of the file")
	case !worthwhile(spans, file.Size()):
		http.ServeContent(w, r, file.name, modified, section(file))
	case len(spans) == 1:
		s := spans[0]
		r = withRange(r, fmt.Sprintf("bytes=%d-%d", s.start, s.start+s.length-1))
		http.ServeContent(w, r, file.name, modified, section(file))
	default:
		serveParts(w, file, spans)
	}
}

func unsatisfiable(w http.ResponseWriter, r *http.Request, file *File, text string) {
	dropFile(w.Header())
	w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", file.Size()))
	fail(w, r, http.StatusRequestedRangeNotSatisfiable, text)
}

// preamble comes before the first boundary of a response with several parts. RFC 2046,
// section 5.1.1, allows it; nginx and Apache send this empty line, and zsync drops the first
// line of the body without a look at it.
const preamble = "\r\n"

// serveParts answers with several spans, as RFC 9110, section 14.6, has it.
func serveParts(w http.ResponseWriter, file *File, spans []span) {
	header := w.Header()
	partType := header.Get("Content-Type")
	parts := multipart.NewWriter(w)
	length := partsLength(spans, file.Size(), partType, parts.Boundary())

	header.Set("Accept-Ranges", "bytes")
	header.Set("Content-Type", "multipart/byteranges; boundary="+parts.Boundary())
	header.Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(http.StatusPartialContent)

	if _, err := io.WriteString(w, preamble); err != nil {
		return // the client is gone
	}
	content := section(file)
	for _, s := range spans {
		if _, err := parts.CreatePart(partHeader(s, file.Size(), partType)); err != nil {
			return // the client is gone
		}
		if _, err := content.Seek(s.start, io.SeekStart); err != nil {
			panic("files: " + err.Error()) // start is within the file
		}
		// Into w, not into the part: w can see through content.
		if _, err := io.CopyN(w, content, s.length); err != nil {
			return // short of Content-Length, which the client can tell
		}
	}
	parts.Close()
}

// partsLength returns the length in bytes of the body that serveParts sends for spans of a
// file of size bytes.
func partsLength(spans []span, size int64, partType, boundary string) int64 {
	length := counter(len(preamble))
	parts := multipart.NewWriter(&length)
	parts.SetBoundary(boundary) // is one that a Writer made
	for _, s := range spans {
		parts.CreatePart(partHeader(s, size, partType))
		length += counter(s.length)
	}
	parts.Close()
	return int64(length)
}

func partHeader(s span, size int64, partType string) textproto.MIMEHeader {
	return textproto.MIMEHeader{
		"Content-Type":  {partType},
		"Content-Range": {s.contentRange(size)},
	}
}

// counter is a Writer that counts bytes.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
