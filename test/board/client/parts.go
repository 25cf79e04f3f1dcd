package client

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// ranges returns the requested ranges; none for the whole file.
func (o Options) ranges() []Range {
	if o.Length == 0 {
		return nil
	}
	return append([]Range{{o.Offset, o.Length}}, o.Also...)
}

// rangeHeader returns their value in a request.
func (o Options) rangeHeader() string {
	var specs []string
	for _, r := range o.ranges() {
		specs = append(specs, fmt.Sprintf("%d-%d", r.Offset, r.Offset+r.Length-1))
	}
	return "bytes=" + strings.Join(specs, ",")
}

// contentRange returns the Content-Range of a range in a response or a part.
func (o Options) contentRange(r Range) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.Offset, r.Offset+r.Length-1, o.Content.Size)
}

// parts compares the body of a response of several ranges (RFC 9110 section 14.6).
func (o Options) parts(header http.Header, body []byte) error {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" {
		return fmt.Errorf("Content-Type is %q, want multipart/byteranges (%v)", header.Get("Content-Type"), err)
	}
	if o.Content == nil {
		return nil
	}
	rest := bytes.NewReader(body)
	in := multipart.NewReader(rest, params["boundary"])
	for _, r := range o.ranges() {
		p, err := in.NextRawPart()
		if err != nil {
			return fmt.Errorf("part at %d: %w", r.Offset, err)
		}
		if got, want := p.Header.Get("Content-Range"), o.contentRange(r); got != want {
			return fmt.Errorf("Content-Range of a part is %q, want %q", got, want)
		}
		data, err := io.ReadAll(p)
		if i := o.Content.Diff(data, r.Offset); err != nil || int64(len(data)) != r.Length || i >= 0 {
			return fmt.Errorf("part at %d: %d bytes, want %d; the first wrong byte is number %d (%v)", r.Offset, len(data), r.Length, i, err)
		}
	}
	if _, err := in.NextRawPart(); err != io.EOF {
		return fmt.Errorf("more parts than requested (%v)", err)
	}
	return nil
}
