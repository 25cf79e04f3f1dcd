package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"syscall"
)

// maxTrailing limits the bytes read after a body to see how a connection ends.
const maxTrailing = 64 << 10

// A worker makes one download after the other, each on the previous connection or on a new
// one.
type worker struct {
	o     Options
	roots *x509.CertPool
	c     *collector

	number int             // of this worker
	gate   <-chan struct{} // closed when the worker may send requests
	random *rand.Rand      // for leaveAfter, not shared

	conn    net.Conn // nil: none
	tcp     *net.TCPConn
	fin     *finConn     // wraps tcp
	slow    *slowConn    // wraps fin, if reading is slow
	leaving *leavingConn // nil unless the client leaves
	asked   int          // requests written and not yet answered
	in      *endReader
	r       *bufio.Reader
}

// An endReader records how reading ended.
type endReader struct {
	r   io.Reader
	err error
}

func (e *endReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil {
		e.err = err
	}
	return n, err
}

// download makes one download and counts it.
func (w *worker) download(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	kind, err := w.exchange(ctx)
	switch kind {
	case "handshake", "request", "then", "response": // the server caused all other failures
		if w.leaving != nil && w.leaving.done {
			kind = "left"
		}
	}
	switch kind {
	case "":
		w.c.update(func(r *Result) { r.Complete++ })
		return
	case "truncated":
		w.c.update(func(r *Result) { r.Truncated++ })
	case "left":
		w.c.update(func(r *Result) { r.Left++ })
		w.hangUp("left")
		return
	case "corrupt":
		w.c.update(func(r *Result) { r.Corrupt++ })
	default:
		if isTimeout(err) {
			kind = "timeout"
		}
		w.c.update(func(r *Result) { r.Errors[kind]++ })
	}
	w.c.detail("%s: %v", kind, err)
	w.hangUp("kept")
}

// exchange sends a request and reads the response. It returns the kind of a failure and an
// error with the details.
func (w *worker) exchange(ctx context.Context) (kind string, err error) {
	if w.conn == nil {
		conn, kind, err := w.dial(ctx)
		if err != nil {
			return kind, err
		}
		select {
		case <-w.gate:
		case <-ctx.Done():
			conn.Close()
			return "request", ctx.Err()
		}
		w.conn = conn
		w.in = &endReader{r: conn}
		// The buffer is as small as possible: buffered bytes have been read from the server.
		w.r = bufio.NewReaderSize(w.in, 16)
		w.c.update(func(r *Result) { r.Connections++ })
	} else if deadline, ok := ctx.Deadline(); ok {
		if err := w.conn.SetDeadline(deadline); err != nil {
			return "request", err
		}
	}
	if w.slow != nil {
		w.slow.ctx = ctx
	}
	if kind, err := w.ask(); err != nil {
		return kind, err
	}
	if w.o.Hold > 0 {
		// Once its response has started, the server is busy with it.
		if _, err := w.r.Peek(1); err != nil {
			return "response", err
		}
		if err := w.hold(); err != nil {
			return "response", err
		}
	}
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return "response", err
	}
	w.asked--
	defer resp.Body.Close()
	if kind, err := w.check(resp); err != nil {
		return kind, err
	}
	if kind, err := w.body(resp); err != nil {
		return kind, err
	}
	if (w.o.KeepAlive || w.asked > 0) && !resp.Close {
		return "", nil
	}
	return w.finish()
}

// ask writes the next request, or all requests of a connection, and carries out the action
// Then.
func (w *worker) ask() (kind string, err error) {
	if w.asked > 0 {
		return "", nil
	}
	raw, _ := w.conn.(*rawConn)
	if w.o.Then == KeyUpdate {
		if err := raw.update(false); err != nil {
			return "request", err
		}
	}
	if _, err := w.conn.Write(w.requests()); err != nil {
		return "request", err
	}
	w.asked = w.o.Pipeline
	switch w.o.Then {
	case HalfClose:
		err = w.tcp.CloseWrite()
	case CloseNotify:
		err = w.conn.(*tls.Conn).CloseWrite()
	case KeyUpdate, KeyUpdateRequest:
		err = raw.update(w.o.Then == KeyUpdateRequest)
	}
	if err != nil {
		return "then", fmt.Errorf("%s: %w", w.o.Then, err)
	}
	return "", nil
}

// requests returns all requests to write on a connection at once. The last request asks for
// the end of the connection, unless others follow, or the connection is ended otherwise.
func (w *worker) requests() []byte {
	var b bytes.Buffer
	for i := range w.o.Pipeline {
		fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: board\r\n", w.o.Path, w.o.Name)
		if w.o.Length > 0 {
			fmt.Fprintf(&b, "Range: %s\r\n", w.o.rangeHeader())
		}
		if !w.o.KeepAlive && w.o.Then != KeyUpdateRequest && i == w.o.Pipeline-1 {
			b.WriteString("Connection: close\r\n")
		}
		b.WriteString("\r\n")
	}
	b.Write(bytes.Repeat([]byte{'x'}, w.o.Extra))
	return b.Bytes()
}

// check compares status and headers with the request.
func (w *worker) check(resp *http.Response) (kind string, err error) {
	want, length := http.StatusOK, int64(-1)
	if w.o.Content != nil {
		length = w.o.Content.Size
	}
	if w.o.Length > 0 {
		want, length = http.StatusPartialContent, w.o.Length
	}
	if len(w.o.Also) > 0 {
		length = -1 // parts have heads, whose size the server chooses
	}
	if resp.StatusCode != want {
		return "status", fmt.Errorf("%s, want %d", resp.Status, want)
	}
	if resp.ContentLength < 0 || length >= 0 && resp.ContentLength != length {
		return "length", fmt.Errorf("Content-Length is %d, want %d", resp.ContentLength, length)
	}
	if w.o.Length > 0 && w.o.Content != nil && len(w.o.Also) == 0 {
		want := w.o.contentRange(w.o.ranges()[0])
		if got := resp.Header.Get("Content-Range"); got != want {
			return "range", fmt.Errorf("Content-Range is %q, want %q", got, want)
		}
	}
	return "", nil
}

// body reads the announced bytes and compares them.
func (w *worker) body(resp *http.Response) (kind string, err error) {
	sum := sha256.New()
	buf := make([]byte, 16<<10)
	var all []byte // all of a body of several parts
	for got := int64(0); ; {
		n, err := resp.Body.Read(buf)
		if len(w.o.Also) > 0 {
			all = append(all, buf[:n]...)
		} else if w.o.Content != nil {
			if i := w.o.Content.Diff(buf[:n], w.o.Offset+got); i >= 0 {
				return "corrupt", fmt.Errorf("byte %d of the file is wrong (%d of %d arrived)", w.o.Offset+got+int64(i), got+int64(n), resp.ContentLength)
			}
		}
		sum.Write(buf[:n])
		got += int64(n)
		w.c.update(func(r *Result) { r.Bytes += int64(n) })
		switch {
		case got == resp.ContentLength:
			digest := hex.EncodeToString(sum.Sum(nil))
			w.c.update(func(r *Result) { r.SHA256 = digest })
			if len(w.o.Also) > 0 {
				if err := w.o.parts(resp.Header, all); err != nil {
					return "corrupt", err
				}
			}
			return "", nil
		case err == nil:
			continue
		case isTimeout(w.in.err):
			return "timeout", fmt.Errorf("%d of %d bytes arrived: %w", got, resp.ContentLength, w.in.err)
		}
		if w.leaving != nil && w.leaving.done {
			return "left", w.in.err
		}
		end := w.end()
		if end == "close_notify" || end == "fin" {
			w.c.update(func(r *Result) { r.Silently++ })
		}
		w.hangUp(end)
		return "truncated", fmt.Errorf("%d of %d bytes arrived, then %s: %w", got, resp.ContentLength, end, w.in.err)
	}
}

// finish reads to the end of the connection. With Extra bytes a server may have answered
// these, too, which is no fault.
func (w *worker) finish() (kind string, err error) {
	n, _ := io.CopyN(io.Discard, w.r, maxTrailing) // the end is in w.in.err
	end := w.end()
	w.hangUp(end)
	if n > 0 && w.o.Extra == 0 {
		return "corrupt", fmt.Errorf("%d bytes arrived after the body", n)
	}
	return "", nil
}

// end names how reading ended.
func (w *worker) end() string {
	err := w.in.err
	switch {
	case w.leaving != nil && w.leaving.done:
		return "left"
	// crypto/tls returns io.EOF for close_notify, after which it reads nothing, and for a FIN
	// without close_notify between two records.
	case err == io.EOF && w.fin.fin:
		return "fin"
	case err == io.EOF:
		return "close_notify"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "fin"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case isTimeout(err):
		return "timeout"
	}
	return "other"
}

// hangUp closes the connection, if there is one, and counts its end.
func (w *worker) hangUp(end string) {
	if w.conn == nil {
		return
	}
	w.conn.Close()
	w.conn, w.leaving, w.asked = nil, nil, 0
	w.c.update(func(r *Result) { r.Ends[end]++ })
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
