package files

import (
	"hash/maphash"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// watchCost is the estimated memory of a name in a watched directory: the kernel's watch, and the
// directory's inode, which several entries may share.
const watchCost = 1024

// insert adds an entry in place of that for the same path, and drops those that were used least
// recently if the limits require it.
func (c *Cache) insert(e *entry) {
	if e.body != nil {
		e.body.join() // first: the old entry may have the same body
	}
	if old := c.entries[e.path]; old != nil {
		c.drop(old)
	}
	if e.body != nil && c.unowned > c.limits.Bytes/2 {
		e.body.leave()
		e.body = nil
	}
	e.cost = overhead + e.body.size() + int64(2*len(e.path)+len(e.described)+len(e.tagged)+len(e.kind))
	for i := range e.deps {
		d := &e.deps[i]
		e.cost += watchCost + int64(len(d.name))
		names := c.watches[d.watch].names
		if d.next = names[d.name]; d.next != nil {
			d.next.previous = d
		}
		names[d.name] = d
	}
	c.entries[e.path] = e
	c.bytes += e.cost
	e.link(&c.used)
	for len(c.entries) > max(c.limits.Entries, 0) || c.bytes > c.limits.Bytes && len(c.entries) > 0 {
		c.drop(c.used.newer)
		c.crowded = true
	}
}

// askedPaths remembers paths for which an entry was wanted, by their hashes: a path displaces one
// with the same place.
type askedPaths struct {
	seed   maphash.Seed
	hashes [1024]uint32
}

// again reports whether the path was asked for before, and remembers it.
func (a *askedPaths) again(p string) bool {
	h := maphash.String(a.seed, p)
	place := &a.hashes[h%uint64(len(a.hashes))]
	was := *place
	*place = uint32(h>>32) | 1 // 0: none
	return was == *place
}

// admits reports whether a path may get an entry. When there is no room, each new entry displaces
// another one. A path is then admitted at its second request, so that files that are requested only
// once displace nothing.
func (c *Cache) admits(p string) bool {
	if c.crowded && c.bytes <= c.limits.Bytes/2 && len(c.entries) <= c.limits.Entries/2 {
		c.crowded = false
	}
	return !c.crowded || c.asked.again(p)
}

// link makes e the last used entry of a list.
func (e *entry) link(head *entry) {
	e.older, e.newer = head.older, head
	e.older.newer, head.older = e, e
}

func (e *entry) unlink() {
	e.older.newer, e.newer.older = e.newer, e.older
}

// touch makes e the last used entry.
func (c *Cache) touch(e *entry) {
	if c.used.older != e {
		e.unlink()
		e.link(&c.used)
	}
}

// drop removes an entry. Its file is kept for Dropped, since closing it may wait for storage.
func (c *Cache) drop(e *entry) {
	delete(c.entries, e.path)
	e.unlink()
	c.bytes -= e.cost
	for i := range e.deps {
		d := &e.deps[i]
		w := c.watches[d.watch]
		if d.next != nil {
			d.next.previous = d.previous
		}
		switch {
		case d.previous != nil:
			d.previous.next = d.next
			continue
		case d.next != nil:
			w.names[d.name] = d.next
			continue
		}
		delete(w.names, d.name)
		if len(w.names) == 0 {
			c.idle = append(c.idle, d.watch)
		}
	}
	c.discard(e)
}

// discard gives up the file and the body of a dropped entry.
func (c *Cache) discard(e *entry) {
	c.dropped = append(c.dropped, e.file)
	if e.body != nil {
		e.body.leave()
	}
}

// dropAll drops all entries, and makes the answer that is being prepared void.
func (c *Cache) dropAll() {
	for e := c.used.newer; e != &c.used; e = e.newer {
		c.discard(e)
	}
	c.used.newer, c.used.older = &c.used, &c.used
	clear(c.entries)
	c.bytes = 0
	c.idle = c.idle[:0]
	for wd, w := range c.watches {
		clear(w.names)
		c.idle = append(c.idle, wd)
	}
	c.void = c.preparing
}

// dropDependents drops the entries that depend on the name, or for an empty name on any name in
// the directory, and remembers the change for the answer that is being prepared.
func (c *Cache) dropDependents(wd int32, name []byte) {
	if w := c.watches[wd]; w != nil {
		if len(name) > 0 {
			for first := w.names[string(name)]; first != nil; first = w.names[string(name)] {
				c.drop(first.entry)
			}
		} else {
			for name, first := range w.names {
				for ; first != nil; first = w.names[name] {
					c.drop(first.entry)
				}
			}
		}
	}
	if c.preparing && !c.void && !slices.Contains(c.removing, wd) {
		if len(c.seen) == maxSeen {
			c.void = true
			return
		}
		c.seen = append(c.seen, dependency{wd, string(name)})
	}
}

// decode returns the decoded path of a request, in the capacity of room. ok is false if it is
// too long or not in origin-form.
func decode(room, path []byte) (decoded []byte, ok bool) {
	room = room[:0]
	if len(path) == 0 || len(path) > cap(room) {
		return nil, false
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' { // http1.Head accepts complete escapes only
			c = unhex(path[i+1])<<4 | unhex(path[i+2])
			i += 2
		}
		room = append(room, c)
	}
	return room, true
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	default:
		return c | 0x20 - 'a' + 10
	}
}

// fileName returns the name of the file that the handler serves for a decoded path: relative to
// the root, and with index.html if the path ends in a slash. ok is false if the path is not in
// normal form, or if the handler answers with an error.
func fileName(p string) (name string, ok bool) {
	if !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl) || strings.Contains(p, `\`) {
		return "", false
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") {
		if clean != "/" {
			clean += "/"
		}
		return p[1:] + "index.html", clean == p
	}
	return p[1:], clean == p
}
