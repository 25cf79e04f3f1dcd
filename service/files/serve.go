package files

import (
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"time"
)

// headerETag is spelled as in RFC 9110. It is set in the map directly, since the methods of
// http.Header would spell it "Etag", which scripts that search for the field do not find.
const headerETag = "ETag"

// content holds the attributes of a file that decide about the answer to a condition or range.
type content struct {
	tag      string // strong, in quotes
	modified time.Time
	from     origin
	size     int64 // bytes
}

// choose returns the status of the answer to a GET or HEAD with the conditions q: 200, 206 with
// the spans to send, 304, 412, or 416 with the reason. The spans use the capacity of room.
func (c *content) choose(method string, q *conditions, now time.Time, room []span) (status int, spans []span, reason string) {
	if status := precondition(q, c.tag, c.modified, c.from); status != http.StatusOK {
		return status, nil, ""
	}
	// An empty file has no byte that a range could select.
	if method != http.MethodGet || c.size == 0 || !resumes(q, c.tag, c.modified, now, c.from) {
		return http.StatusOK, nil, ""
	}
	spans, err := rangesOf(q, c.size, room)
	switch {
	case err != nil:
		return http.StatusRequestedRangeNotSatisfiable, nil, "malformed range"
	case spans == nil || !worthwhile(spans, c.size):
		return http.StatusOK, nil, ""
	case len(spans) == 0:
		return http.StatusRequestedRangeNotSatisfiable, nil, "range beyond the end of the file"
	}
	return http.StatusPartialContent, spans, ""
}

// serveFile answers with file. The caller still has to release the file.
func serveFile(w http.ResponseWriter, r *http.Request, file *File) {
	header := w.Header()
	header.Set("Content-Type", contentType(file.name))
	header.Set("X-Content-Type-Options", "nosniff")
	tag := file.etag()
	header[headerETag] = []string{tag}
	now := time.Now()
	modified := lastModified(file.stat.modified.time(), now)
	header.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))

	c := content{tag, modified, file.origin, file.Size()}
	status, spans, reason := c.choose(r.Method, conditionsOf(r.Header), now, nil)
	switch status {
	case http.StatusPreconditionFailed:
		dropFile(header)
		fail(w, r, http.StatusPreconditionFailed, "precondition failed: the file does not match the condition")
		return
	case http.StatusNotModified:
		// RFC 9110, section 15.4.5: only the fields that guide caches; the entity tag suffices.
		header.Del("Content-Type")
		header.Del("Last-Modified")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Accept-Ranges", "bytes")
	switch {
	case status == http.StatusRequestedRangeNotSatisfiable:
		unsatisfiable(w, r, file, reason)
	case len(spans) == 0:
		serveSpan(w, r, file, span{0, file.Size()})
	case len(spans) == 1:
		header.Set("Content-Range", spans[0].contentRange(file.Size()))
		serveSpan(w, r, file, spans[0])
	default:
		serveParts(w, file, spans)
	}
}

// serveSpan answers with a part of a file, with 206 if it has a Content-Range, else 200.
func serveSpan(w http.ResponseWriter, r *http.Request, file *File, s span) {
	header := w.Header()
	header.Set("Content-Length", strconv.FormatInt(s.length, 10))
	status := http.StatusOK
	if header.Get("Content-Range") != "" {
		status = http.StatusPartialContent
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		send(w, section(file), s)
	}
}

// send writes a part of content. If the client has closed the connection or the file cannot be
// read, it writes fewer bytes than the Content-Length, so that the client detects the failure.
func send(w http.ResponseWriter, content *io.SectionReader, s span) error {
	if _, err := content.Seek(s.start, io.SeekStart); err != nil {
		panic("files: " + err.Error()) // start is within the file
	}
	_, err := io.CopyN(w, content, s.length)
	return err
}

// section returns the whole file as an *io.SectionReader, from which a ResponseWriter can
// obtain the *File: see the package comment, Bodies.
func section(file *File) *io.SectionReader { return io.NewSectionReader(file, 0, file.Size()) }

// lastModified returns the time to send to clients. On a board without a battery-backed clock
// a file's mtime can be in the future, and RFC 9110, section 8.8.2.1, forbids a Last-Modified
// later than Date.
func lastModified(modified, now time.Time) time.Time {
	if modified.After(now) {
		return now
	}
	return modified
}

// dropFile removes the header fields that describe a file, for a response with an error.
func dropFile(header http.Header) {
	delete(header, headerETag)
	header.Del("Last-Modified")
	header.Del("Accept-Ranges")
}

func unsatisfiable(w http.ResponseWriter, r *http.Request, file *File, text string) {
	dropFile(w.Header())
	w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", file.Size()))
	fail(w, r, http.StatusRequestedRangeNotSatisfiable, text)
}

// preamble precedes the first boundary of a response with several parts. RFC 2046,
// section 5.1.1, allows it; nginx and Apache send this empty line, and zsync discards the
// first line of the body unread.
const preamble = "\r\n"

// serveParts answers with several spans as multipart/byteranges, RFC 9110, section 14.6.
func serveParts(w http.ResponseWriter, file *File, spans []span) {
	header := w.Header()
	partType := header.Get("Content-Type")
	parts := multipart.NewWriter(w)
	length := partsLength(spans, file.Size(), partType, parts.Boundary())

	header.Set("Content-Type", "multipart/byteranges; boundary="+parts.Boundary())
	header.Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(http.StatusPartialContent)

	if _, err := io.WriteString(w, preamble); err != nil {
		return // the client has closed the connection
	}
	content := section(file)
	for _, s := range spans {
		if _, err := parts.CreatePart(partHeader(s, file.Size(), partType)); err != nil {
			return // the client has closed the connection
		}
		// Into w, not into the part: w can obtain the *File from content.
		if err := send(w, content, s); err != nil {
			return
		}
	}
	parts.Close()
}

// partsLength returns the length in bytes of the body that serveParts sends for spans of a
// file of size bytes.
func partsLength(spans []span, size int64, partType, boundary string) int64 {
	length := counter(len(preamble))
	parts := multipart.NewWriter(&length)
	parts.SetBoundary(boundary) // never fails: a Writer has generated the boundary
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
