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
)

const allowed = "GET, HEAD, OPTIONS"

// Options chooses how a folder is served.
type Options struct {
	Listing bool // list a folder that has no index.html; otherwise 404

	// Folder is the root, opened as a file, for Cached; it has to stay open, too. Without
	// it nothing is known to be cached.
	Folder *os.File
	Log    *slog.Logger // takes why a file cannot be read; nil: nobody does
}

// New returns the handler that serves what is below root, which has to stay open
// for as long. The handler may serve several requests at the same time.
func New(root *os.Root, opts Options) http.Handler {
	return newHandler(root, opts, kernel())
}

func newHandler(root *os.Root, opts Options, s system) *handler {
	return &handler{root: root, options: opts, system: s, slow: make(chan struct{}, maxSlow)}
}

type handler struct {
	root    *os.Root
	options Options
	system  system
	slow    chan struct{} // full: no more may wait long
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header().Set("Allow", allowed)
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", allowed)
		fail(w, r, http.StatusMethodNotAllowed, "method not allowed; use GET or HEAD")
		return
	}

	asked := pathOf(r)
	if asked[0] != '/' || !utf8.ValidString(asked) || strings.ContainsFunc(asked, unicode.IsControl) {
		fail(w, r, http.StatusBadRequest, "bad path")
		return
	}
	if strings.Contains(asked, `\`) {
		fail(w, r, http.StatusNotFound, "not found")
		return
	}
	clean := cleanPath(asked)
	if clean != asked {
		redirect(w, r, clean)
		return
	}
	h.serve(w, r, clean)
}

// pathOf returns the path that r asks for.
func pathOf(r *http.Request) string {
	if r.URL.Path == "" {
		return "/" // the target was "http://host", RFC 9110, section 4.2.3
	}
	return r.URL.Path
}

// cleanPath returns the shortest path that means the same as p.
func cleanPath(p string) string {
	clean := path.Clean(p)
	if clean != "/" && endsInFolder(p) {
		clean += "/"
	}
	return clean
}

// nameOf returns the name below the root of what is at a clean path.
func nameOf(clean string) string {
	if name := strings.Trim(clean, "/"); name != "" {
		return name
	}
	return "."
}

// endsInFolder reports whether a path can only mean a folder.
func endsInFolder(p string) bool {
	return strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
}

// serve answers with what is at clean, which starts with one slash, and ends in
// one to mean a folder.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, clean string) {
	name := nameOf(clean)
	file, folder, err := h.open(r.Context(), name)
	if err != nil {
		h.failWith(w, r, err)
		return
	}
	wantsFolder := strings.HasSuffix(clean, "/")
	switch {
	case file != nil && wantsFolder:
		file.Release()
		fail(w, r, http.StatusNotFound, "not found")
	case file != nil:
		serveFile(w, r, file)
		file.Release()
	case !wantsFolder:
		folder.Close()
		redirect(w, r, clean+"/")
	default:
		h.serveFolder(w, r, name, folder)
		folder.Close()
	}
}

// serveFolder answers with the folder's index.html, or else its listing.
func (h *handler) serveFolder(w http.ResponseWriter, r *http.Request, name string, folder *os.File) {
	index, other, err := h.open(r.Context(), path.Join(name, "index.html"))
	if other != nil {
		other.Close()
	}
	switch {
	case index != nil:
		serveFile(w, r, index)
		index.Release()
	case err != nil && statusOf(err) != http.StatusNotFound:
		h.failWith(w, r, err)
	case !h.options.Listing:
		fail(w, r, http.StatusNotFound, "not found")
	default:
		h.list(w, r, name, folder)
	}
}

// redirect sends the client to clean on this host, which starts with one slash:
// with two it would be another host.
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

// failWith answers with what err means to a client, and has it logged if it is the
// server's trouble.
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
			after, text = "2", "the file is being written; try again when that is done"
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

// statusOf returns the status for an error of open.
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
		return http.StatusNotFound // os.Root refuses by itself what leads outside
	}
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EINVAL,
		syscall.ENXIO, syscall.ENODEV: // the last two: a socket, a device without a driver
		return http.StatusNotFound
	case syscall.EACCES, syscall.EPERM:
		return http.StatusForbidden
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// respond answers with a body from memory, and its length also to HEAD.
func respond(w http.ResponseWriter, r *http.Request, status int, body string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.WriteString(w, body)
	}
}
