package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"uringhttpd/service/http1"
)

const allowed = "GET, HEAD, OPTIONS"

// badPath is the body of a 400.
const badPath = "bad path; it must start with a slash and be UTF-8 without control characters"

// Options selects how a directory is served.
type Options struct {
	Listing bool // list a directory that has no index.html; otherwise 404

	// Directory is the root, opened as a file, for lookups in the kernel's cache; it must stay
	// open as long as the root. Without it no file is known to be cached.
	Directory *os.File
	Log       *slog.Logger // receives the reason why a file cannot be read; nil: no log
}

// New returns the handler that serves the files below root, which must stay open as long as
// the handler is used. The handler may serve several requests at the same time.
func New(root *os.Root, opts Options) http.Handler {
	return newHandler(root, opts, kernel())
}

func newHandler(root *os.Root, opts Options, s system) *handler {
	h := &handler{root: root, options: opts, system: s, slow: make(chan struct{}, maxSlow)}
	if opts.Directory != nil {
		h.device, h.local = localDevice(int(opts.Directory.Fd()))
	}
	return h
}

type handler struct {
	root    *os.Root
	options Options
	system  system
	device  uint64        // of the root, if local
	local   bool          // the root's file system needs neither a network nor another program
	slow    chan struct{} // semaphore for long waits
}

// ServeHTTP answers a request. If the server does not allow the handler to wait for storage
// (http1.MayBlock), it answers only from the kernel's cache, as far as cached files can be
// recognized, and serves no directory listings.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.answer(w, r, http1.MayBlock(r)) {
		http1.WouldBlock(r)
	}
}

// answer answers a request. It returns false if that would have to wait for storage and
// mayBlock is false.
func (h *handler) answer(w http.ResponseWriter, r *http.Request, mayBlock bool) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header().Set("Allow", allowed)
		w.WriteHeader(http.StatusNoContent)
		return true
	default:
		w.Header().Set("Allow", allowed)
		fail(w, r, http.StatusMethodNotAllowed, "method not allowed; use GET or HEAD")
		return true
	}

	requested := r.URL.Path
	if requested == "" {
		requested = "/" // the target was "http://host", RFC 9110, section 4.2.3
	}
	if requested[0] != '/' || !utf8.ValidString(requested) || strings.ContainsFunc(requested, unicode.IsControl) {
		fail(w, r, http.StatusBadRequest, badPath)
		return true
	}
	if strings.Contains(requested, `\`) {
		fail(w, r, http.StatusNotFound, "not found")
		return true
	}
	clean := path.Clean(requested)
	if clean != "/" && endsInDirectory(requested) {
		clean += "/"
	}
	// A file, or a directory with its slash, is served under any path that resolves to it,
	// since clients that do not follow a redirect take its body for the file. A client resolves
	// the relative links of a page against the requested path, so that must end in a slash.
	if leadsAbove(requested) || strings.HasSuffix(clean, "/") && !strings.HasSuffix(requested, "/") {
		redirect(w, r, clean)
		return true
	}
	return h.serve(w, r, clean, mayBlock)
}

// leadsAbove reports whether a path has a ".." that would lead above the root.
func leadsAbove(p string) bool {
	depth := 0
	for name := range strings.SplitSeq(p, "/") {
		switch name {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

// endsInDirectory reports whether a path can only mean a directory.
func endsInDirectory(p string) bool {
	return strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
}

// serve answers with the file or directory at clean, a path that starts with one slash, and
// ends in a slash for a directory. It returns false if it would have to wait for storage and
// mayBlock is false.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, clean string, mayBlock bool) bool {
	name := strings.Trim(clean, "/")
	if name == "" {
		name = "."
	}
	file, dir, err := h.open(callerOf(r), name, mayBlock)
	switch {
	case err == errPostponed:
		return true
	case err == errUncached:
		return false
	case err != nil:
		h.failWith(w, r, err)
		return true
	}
	wantsDirectory := strings.HasSuffix(clean, "/")
	switch {
	case file != nil && wantsDirectory:
		file.Release()
		fail(w, r, http.StatusNotFound, "not found")
	case file != nil:
		serveFile(w, r, file)
		file.Release()
	case !wantsDirectory:
		dir.Close()
		redirect(w, r, clean+"/")
	default:
		defer dir.Close()
		return h.serveDirectory(w, r, name, dir, mayBlock)
	}
	return true
}

// serveDirectory answers with the directory's index.html, or else its listing. It returns false
// as serve does.
func (h *handler) serveDirectory(w http.ResponseWriter, r *http.Request, name string, dir *os.File, mayBlock bool) bool {
	index, other, err := h.open(callerOf(r), path.Join(name, "index.html"), mayBlock)
	if other != nil {
		other.Close()
	}
	switch {
	case err == errPostponed:
		return true
	case err == errUncached:
		return false
	case index != nil:
		serveFile(w, r, index)
		index.Release()
	case err != nil && statusOf(err) != http.StatusNotFound:
		h.failWith(w, r, err)
	case !h.options.Listing:
		fail(w, r, http.StatusNotFound, "not found")
	case !mayBlock:
		return false
	default:
		h.list(w, r, name, dir)
	}
	return true
}

// redirect sends the client to the path clean on this host. The path starts with one slash:
// with two it would name another host.
func redirect(w http.ResponseWriter, r *http.Request, clean string) {
	target := (&url.URL{Path: clean}).EscapedPath()
	if query := r.URL.RawQuery; query != "" && !strings.ContainsFunc(query, isNotQuery) {
		target += "?" + query
	}
	w.Header().Set("Location", target)
	fail(w, r, http.StatusMovedPermanently, "moved to "+target)
}

func isNotQuery(c rune) bool { return c <= ' ' || c >= 0x7f }

// fail answers with a status and a line of text.
func fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	respond(w, r, status, text+"\n")
}

// failWith answers with the status that statusOf assigns to err, and logs err if it is a
// fault of the server.
func (h *handler) failWith(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	switch status {
	case http.StatusNotFound:
		fail(w, r, status, "not found")
	case http.StatusForbidden:
		fail(w, r, status, "the server may not read this file")
	case http.StatusServiceUnavailable:
		after, text := "1", "too many files are open; try again"
		if !errors.As(err, new(syscall.Errno)) {
			after, text = "2", "the file is being written; try again later"
		}
		w.Header().Set("Retry-After", after) // seconds
		fail(w, r, status, text)
	default:
		if h.options.Log != nil {
			h.options.Log.Error("request failed", "remote", r.RemoteAddr, "reason", err)
		}
		fail(w, r, status, "the server cannot read this file")
	}
}

// statusOf returns the HTTP status for an error of open.
func statusOf(err error) int {
	var errno syscall.Errno
	switch {
	case errors.Is(err, errNotServed):
		return http.StatusNotFound
	case errors.Is(err, errUnsettled), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	case errors.Is(err, fs.ErrClosed):
		return http.StatusInternalServerError
	case !errors.As(err, &errno):
		return http.StatusNotFound // os.Root rejects a path that leads outside without a system error
	}
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EINVAL,
		syscall.ENXIO, syscall.ENODEV: // ENXIO: a socket; ENODEV: a device without a driver
		return http.StatusNotFound
	case syscall.EACCES, syscall.EPERM:
		return http.StatusForbidden
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// respond answers with a body from memory; a HEAD gets its length, too.
func respond(w http.ResponseWriter, r *http.Request, status int, body string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.WriteString(w, body)
	}
}
