// Package files is the http.Handler that serves a folder of firmware and assets.
//
// It works under any server of net/http's interfaces, and is written for one
// that sends files without reading them: see "Bodies" below. It caches nothing,
// compresses nothing, guesses no content type and takes no upload.
//
// # What is served
//
// Regular files below the root, and listings of its folders. A path goes to the
// kernel through os.Root, one component at a time, so neither "..", nor a
// symbolic link, nor a race with a rename leads out. A link inside the root
// works if its target is relative; an absolute one is taken to lead out, even if
// it would come back in, and what leads out is not found (404). Devices, sockets
// and FIFOs are not found either, and opening one does not wait.
//
// A path with empty segments, "." or ".." in it is that of the file it leads to, and is
// answered at once. Only two kinds are redirected, both to the normal path on this host:
// a directory without its slash, and a path with a ".." that would lead above the root.
//
// Files whose names start with a dot are not listed, but served to who asks for
// them by name: "/.well-known/" has to work, and a name is no protection. A
// half-written upload is best kept outside the root.
//
// A name with a backslash is not found, and one with control characters or that
// is not UTF-8 is a bad request: browsers and tools disagree on what they mean.
// Listings leave them out.
//
// # Validators
//
// The ETag is strong: inode, size, and the times of the last change of content
// (mtime) and of inode (ctime), which cannot be set back, except on FAT, where it is
// mtime. Where ctime may not come from a kernel, as in an image that a tool has written,
// the tag also has a hash of the image's origin: the boot, the device and its medium, or the
// mount. Such a tag survives a restart of the service, and changes with the image, and with
// each boot.
//
// Kernels take both times from a clock that ticks every 1 to 10 ms, and some file systems
// keep whole seconds; two writes within one tick look like one. So a file that was changed just now
// is not served, nor named by a tag, before its tick is over: the handler waits,
// some 20 ms, or up to 2 s on FAT and the like. A file that keeps changing, and
// one on such a file system while others are waited for, is answered with 503 and
// Retry-After.
//
// What is not seen: stores into a shared mapping (mmap) after the first to each
// page, until the kernel writes the page back; the rest of a single write(2) or
// copy that began before the file was opened and still goes on; a file system or
// a device that changes below this kernel; and a change made while the clock, set
// back, shows the very tick of the last one. Publish a file by writing a new one and
// renaming it over the old: then none of this matters, and transfers of the old file
// end whole.
//
// A ctime that moves together with the number of links, or with the path of the open
// file, is no change of its bytes: the file was replaced, renamed, removed, or got or lost
// a hard link. A transfer goes on, while the tag for the next request is another. So it
// goes unseen if a file is written in place, its mtime is set back to the nanosecond,
// and its names are changed as well, all between two looks within one transfer.
//
// Last-Modified is a second validator, for those who have no tag. A tool can set
// it back. It resumes a download (If-Range) only when its second is over, and
// never for a file from the future, or with a time of a tool; and it makes no 304 for a
// file in a read-only image. Listings have no validator.
//
// # Bodies
//
// A response's body is either a short piece of memory, at most 60 KiB, with its
// Content-Length, or one or more copies
//
//	io.CopyN(w, section, n)
//
// where section is an *io.SectionReader whose Outer is a *File. A ResponseWriter
// with a ReadFrom method is handed an *io.LimitedReader of it, may Acquire the
// File, and send the part of the descriptor after the handler has returned.
// Several ranges are such copies with part headers between them.
//
// # Debugging
//
// Each error has a one-line body that says what happened. File.Unchanged and
// File.UnchangedNow name the fields that changed while a file was sent. "The file is being written" for a
// file at rest means that the clock of stamps stands still, or that ctime does
// not: stat(1) and date(1) tell which.
package files
