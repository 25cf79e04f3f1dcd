// Package files is the http.Handler that serves a directory of firmware and assets.
//
// It works under any server that implements net/http's interfaces, and is written for a
// server that sends files without reading them: see "Bodies" below. The handler does not cache; a
// Cache holds prepared answers beside it: see "Cache" below. The package does not compress,
// does not sniff content types and does not accept uploads.
//
// # Served files
//
// The handler serves regular files below the root, and listings of its directories. The
// kernel resolves a path through os.Root, one component at a time, so neither "..", nor a
// symbolic link, nor a race with a rename leads outside the root. A link inside the root
// works if its target is relative; an absolute target is taken to lead outside, even if it
// would come back in, and a path that leads outside is not found (404). Devices, sockets
// and FIFOs are not found either, and opening one does not block.
//
// A path with empty segments, "." or ".." is answered at once, with the file that it
// resolves to. Only two kinds are redirected, both to the normalized path on this host: a
// directory without its trailing slash, and a path with a ".." that would lead above the
// root.
//
// Files whose names start with a dot are not listed, but are served when requested by
// name: "/.well-known/" has to work, and an unlisted name is no protection. Keep a partial
// upload outside the root.
//
// A name with a backslash is not found, and a name with control characters, or that is not
// UTF-8, is a bad request: browsers and tools disagree on their meaning. Listings omit such
// names.
//
// # Validators
//
// The entity tag (ETag) is strong. It consists of inode, size, and the timestamps of the
// last change of content (mtime) and of inode (ctime). ctime cannot be set back, except on
// FAT, where it is mtime. Where ctime may not come from a kernel, as in a file system image
// written by a tool, the tag also has a hash of the image's origin: the boot, the device and
// its medium, or the mount. Such a tag survives a restart of the service, and changes with
// the image, and with each boot.
//
// Kernels take both timestamps from a clock that ticks every 1 to 10 ms, and some file
// systems store whole seconds; two writes within one tick have the same timestamps.
// Therefore a file that has just been changed is not served, nor given an entity tag, before
// its tick is over: the handler waits, about 20 ms, or up to 2 s on FAT and similar file
// systems. A file that keeps changing, and a file on a file system with whole seconds while
// the handler waits for others, is answered with 503 and Retry-After.
//
// Changes that are not detected: stores into a shared mapping (mmap) after the first to each
// page, until the kernel writes the page back; the rest of a single write(2) or
// copy that began before the file was opened and is still in progress; a file system or
// a device that changes below this kernel; and a change made while the clock, set
// back, shows the same tick as at the last change. Publish a file by writing a new file and
// renaming it over the old one: then none of these cases applies, and transfers of the old
// file complete.
//
// A ctime that changes together with the number of links, or with the path of the open
// file, does not mean that the bytes changed: the file was replaced, renamed, removed, or got
// or lost a hard link. The transfer continues, while the next request gets another tag.
// Consequently a change is not detected if a file is written in place, its mtime is set back
// to the nanosecond, and its names are changed as well, all between two checks within one
// transfer.
//
// Last-Modified is a second validator, for clients without an entity tag. A tool can set
// it back. It resumes a download (If-Range) only when its second is over, and never for a
// file with a time in the future, or with a time set by a tool; and it does not cause a 304
// for a file in a read-only image. Listings have no validator.
//
// # Bodies
//
// A response's body is either a short buffer in memory, at most 60 KiB, with its
// Content-Length, or one or more copies
//
//	io.CopyN(w, section, n)
//
// where section is an *io.SectionReader whose Outer is a *File. A ResponseWriter
// with a ReadFrom method is passed an *io.LimitedReader of it, may Acquire the
// File, and send that part of the descriptor after the handler has returned.
// Several ranges are such copies with part headers between them.
//
// # Cache
//
// A Cache answers plain requests for regular files without opening them. Its answers equal the
// handler's. A change of a name is reported by inotify, and a change of a mount by
// /proc/self/mountinfo; content and attributes are compared before an answer. A request received
// after a rename, write, truncation, removal, link or chmod has returned gets no older answer. Files
// of up to CacheLimits.Body bytes are kept in memory for at most 2 s, since the
// undetected changes above would otherwise be kept longer than the kernel keeps them.
//
// Only file systems that report all changes of names are cached: local ones with exact names (ext4,
// f2fs, btrfs, XFS, tmpfs, ramfs, JFFS2, UBIFS), images (squashfs, EROFS) and overlayfs. On FAT and
// in directories that ignore case, a change may be reported under another name. A path through
// "..", an absolute link or a mount point is not cached; neither is a directory that the service
// may not read, since it cannot be watched. Changes that only a security module or the key of an
// encrypted directory makes visible are not detected.
//
// # Debugging
//
// Each error response has a one-line body that states the cause. File.Unchanged and
// File.UnchangedNow name the fields that changed while a file was sent. "The file is being
// written" for a file at rest means that the clock of the timestamps stands still, or that
// ctime keeps changing: stat(1) and date(1) tell the two apart.
package files
