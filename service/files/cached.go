package files

import (
	"net/http"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Cached reports whether ServeHTTP can answer r without waiting for storage, as far as
// the kernel can tell: the path is in its cache of names, and so the inode of what is
// there is in memory. It does not wait itself. A listing is never taken for cached.
func (h *handler) Cached(r *http.Request) bool {
	clean := pathOf(r)
	if clean[0] != '/' || clean != cleanPath(clean) {
		return true // an error or a redirect, without a look at what is there
	}
	name := nameOf(clean)
	if !strings.HasSuffix(clean, "/") {
		return h.inCache(name) != isUnknown
	}
	switch h.inCache(name) {
	case isUnknown:
		return false
	case isNot:
		return true
	}
	index := h.inCache(path.Join(name, "index.html"))
	return index == isThere || index == isNot && !h.options.Listing
}

// presence is what the cache of names knows of a name.
type presence uint8

const (
	isUnknown presence = iota
	isThere
	isNot // or it leads outside the root
)

// inCache asks the kernel's cache of names.
func (h *handler) inCache(name string) presence {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: resolveCached | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	if h.options.Folder == nil {
		return isUnknown
	}
	fd, err := unix.Openat2(int(h.options.Folder.Fd()), name, &how)
	switch err {
	case nil:
		unix.Close(fd)
		return isThere
	case unix.ENOENT, unix.ENOTDIR, unix.EXDEV, unix.ELOOP, unix.EACCES:
		return isNot
	}
	// EAGAIN: it is not there. ENOSYS, EPERM or EINVAL: something between here and the
	// kernel does not know this call; then nothing is known.
	return isUnknown
}
