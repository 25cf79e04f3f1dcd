package files

import (
	"bytes"
	"context"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxLinks is the largest number of symbolic links on a path, as in fs/namei.c.
	maxLinks = 40
	// maxSteps is the largest number of names on a path, including those of links.
	maxSteps = 64
)

// A preparation is the result of a job.
type preparation struct {
	path    string
	entry   *entry  // nil: there is no answer
	watched []int32 // also if there is no answer
	deps    []dependency
}

// Prepare implements http1.Cache.
func (c *Cache) Prepare(p string) func() {
	if c.preparing || !c.usable || len(p) == 0 || len(p) > maxPath {
		return nil
	}
	expired := c.entries[p]
	if expired != nil && !expired.expired(c.clock()) {
		return nil
	}
	if at, ok := c.failed[p]; ok && c.clock().Sub(at) < retry {
		return nil
	}
	name, ok := fileName(p)
	if !ok || expired == nil && !c.admits(p) {
		return nil
	}
	delete(c.failed, p)
	var old *body
	if expired != nil {
		old = expired.body
	}
	c.preparing = true
	unused := c.takeIdle()
	c.removing = unused
	return func() { c.prepare(p, name, old, unused) }
}

// takeIdle returns the watches that no entry needs. The job removes them, so that no watch is
// removed during a job that has just got the same one, and since the kernel may have to free the
// directory's inode.
func (c *Cache) takeIdle() []int32 {
	var unused []int32
	for _, wd := range c.idle {
		if w := c.watches[wd]; w != nil && len(w.names) == 0 {
			delete(c.watches, wd)
			unused = append(unused, wd)
		}
	}
	c.idle = c.idle[:0]
	return unused
}

// prepare is the job that Prepare returns. It runs on another goroutine.
func (c *Cache) prepare(p, name string, old *body, unused []int32) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.names.acquire()
	}
	c.mu.Unlock()
	if closed {
		return
	}
	defer c.names.close()
	for _, wd := range unused {
		c.names.remove(wd)
	}
	done := &preparation{path: p}
	done.entry = c.fill(done, name, old)

	c.mu.Lock()
	closed = c.closed
	if !closed {
		c.done = done
	}
	c.mu.Unlock()
	if closed && done.entry != nil {
		done.entry.file.Release()
	}
}

// fill returns the entry for a file, or nil. old is the body of the expired entry; nil if there is none.
func (c *Cache) fill(p *preparation, name string, old *body) *entry {
	h, born := c.handler, c.clock()
	found, ok := c.walk(p, name)
	if !ok {
		return nil
	}
	// A file that has just changed is not waited for: its next requests may find it settled.
	never := func(time.Duration) (ok, supported bool) { return false, true }
	file, dir, err := h.open(caller{context.Background(), never}, name, true)
	if dir != nil {
		dir.Close()
	}
	if err != nil || file == nil {
		return nil
	}
	e := c.newEntry(p, file, born)
	is := file.stat
	if is.device != found.device || is.inode != found.inode || !file.Local() || !c.read(e, old) || e.modified.After(c.clock()) {
		file.Release()
		return nil
	}
	return e
}

// read reads the body of an entry if it is small, and reports whether the file is unchanged. The
// entry shares the memory of old if its bytes are the same: slow clients would otherwise hold a copy
// of each life.
func (c *Cache) read(e *entry, old *body) bool {
	if e.size <= c.limits.Body {
		e.body = &body{cache: c, bytes: make([]byte, e.size)}
		if n, _ := e.file.ReadAt(e.body.bytes, 0); int64(n) != e.size {
			return false
		}
		if old != nil && bytes.Equal(old.bytes, e.body.bytes) {
			e.body = old
		}
		e.limit(memoryLife)
	}
	decided, err := e.file.Check(true)
	return decided && err == nil
}

// limit makes an entry expire after life.
func (e *entry) limit(life time.Duration) {
	if e.life == 0 || life < e.life {
		e.life = life
	}
}

func (c *Cache) newEntry(p *preparation, file *File, born time.Time) *entry {
	tag, modified := file.etag(), file.stat.modified.time()
	const (
		server  = "\r\nServer: uringhttpd\r\nX-Content-Type-Options: nosniff\r\n\r\n"
		tagLine = "\r\n" + headerETag + ": "
	)
	e := &entry{
		content: content{tag, modified, file.origin, file.Size()},
		path:    p.path, file: file, deps: make([]dependent, len(p.deps)), born: born,
		kind:      "Content-Type: " + contentType(file.name) + "\r\n",
		described: tagLine + tag + "\r\nLast-Modified: " + modified.UTC().Format(http.TimeFormat) + server,
		tagged:    tagLine + tag + server,
	}
	for i, d := range p.deps {
		e.deps[i] = dependent{dependency: d, entry: e}
	}
	if file.origin.hash != "" {
		e.limit(imageLife)
	}
	return e
}

// walk resolves a name below the root, and returns the identity of the regular file that it leads
// to. Each directory is watched before a name in it is looked up. ok is false for a path through
// a mount point, "..", or an absolute link.
func (c *Cache) walk(p *preparation, name string) (found identity, ok bool) {
	root := int(c.handler.options.Directory.Fd())
	directory, rest := root, strings.Split(name, "/")
	defer func() {
		if directory != root {
			unix.Close(directory)
		}
	}()
	for steps, links := 0, 0; len(rest) > 0 && steps < maxSteps; steps++ {
		next := rest[0]
		rest = rest[1:]
		fd, is, ok := c.step(p, directory, next)
		if !ok {
			return identity{}, false
		}
		switch {
		case is.isLink() && links < maxLinks:
			links++
			target := readLink(fd)
			unix.Close(fd)
			names := strings.Split(target, "/")
			if slices.ContainsFunc(names, func(s string) bool { return s == "" || s == "." || s == ".." }) {
				return identity{}, false
			}
			rest = slices.Concat(names, rest)
		case is.isDirectory():
			// Readable, for the flags; a directory that cannot be read cannot be watched either.
			readable, err := unix.Openat2(fd, ".", &unix.OpenHow{
				Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV,
			})
			unix.Close(fd)
			if err != nil {
				return identity{}, false
			}
			if directory != root {
				unix.Close(directory)
			}
			directory = readable
		default:
			unix.Close(fd)
			return is, is.isRegular() && len(rest) == 0
		}
	}
	return identity{}, false
}

// step watches a directory, and then looks up a name in it.
func (c *Cache) step(p *preparation, directory int, name string) (fd int, is identity, ok bool) {
	wd, err := c.names.watch(directory)
	if err != nil {
		return -1, identity{}, false
	}
	if !slices.Contains(p.watched, wd) {
		p.watched = append(p.watched, wd)
	}
	if ignoresCase(directory) {
		return -1, identity{}, false
	}
	if d := (dependency{wd, name}); !slices.Contains(p.deps, d) {
		p.deps = append(p.deps, d)
	}
	if fd, err = c.names.look(directory, name); err != nil {
		return -1, identity{}, false
	}
	is, err = identify(fd, "", unix.AT_EMPTY_PATH)
	// The kernel's name is another one if the file system ignores case, or after a rename.
	if err != nil || is.device != c.handler.device || path.Base(descriptorPath(fd)) != name {
		unix.Close(fd)
		return -1, identity{}, false
	}
	return fd, is, true
}

// readLink returns the target of a symbolic link, or "" if it is too long.
func readLink(fd int) string {
	buf := make([]byte, maxPath)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil || n == len(buf) {
		return ""
	}
	return string(buf[:n])
}
