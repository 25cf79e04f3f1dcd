package files

import "golang.org/x/sys/unix"

const (
	// maxReads is the largest number of reads of events in one Update. A program that changes names all
	// the time must not hold the loop.
	maxReads = 8
	// maxSeen is the largest number of changes that are remembered for a preparation.
	maxSeen = 128
)

// Update implements http1.Cache.
//
// After Update, no entry depends on a name that had changed before Update was called. Proof: the
// job of an entry has watched each directory before it looked up the name in it, so each change after
// the lookup is an event. The event was read by an earlier Update, or is still in the queue.
// If it was read while the entry existed, it dropped the entry. If it was read during the
// job, it is in c.seen, and adopt discards the entry. If it is in the queue, Update reads it after
// adopt, and it drops the entry like any other. (The other order is right too, since changes are
// remembered until adopt, but leaves an entry whose events are still in the queue.) A surviving
// entry has seen the queue empty after the beginning of Update: an Update that does not reach
// the end of the queue drops all entries, and makes a preparation void. A preparation that begins
// later finds old events in the queue, which at worst discard it.
//
// The kernel queues an event before the system call that causes it returns, and changes the counter
// of mounts before mount(2) or umount(2) returns. Content and attributes are checked by Answer,
// once after each Update.
func (c *Cache) Update() {
	c.round++
	c.adopt()
	events, mounted := c.names.poll()
	if mounted {
		c.dropAll() // the path may lead to another file system; inotify does not report that
	}
	if events {
		c.readEvents()
	}
}

// FD implements http1.Cache.
func (c *Cache) FD() int { return c.names.inotify }

// readEvents reads events until the queue is empty, and drops all entries if that takes too long.
func (c *Cache) readEvents() {
	for range maxReads {
		n, err := c.names.read(c.events)
		if err != nil {
			break
		}
		if n == 0 {
			return
		}
		if !c.apply(c.events[:n]) {
			break
		}
	}
	c.dropAll()
}

// apply drops the entries that events concern. It returns false if buf is malformed.
func (c *Cache) apply(buf []byte) bool {
	for len(buf) > 0 {
		e, rest, ok := nextEvent(buf)
		if !ok {
			return false
		}
		buf = rest
		if e.mask&unix.IN_Q_OVERFLOW != 0 {
			c.dropAll()
			continue
		}
		c.dropDependents(e.watch, e.name)
		if e.mask&unix.IN_IGNORED != 0 {
			delete(c.watches, e.watch) // the kernel has removed it
		}
	}
	return true
}

// adopt makes the result of a job that has ended an entry.
func (c *Cache) adopt() {
	c.mu.Lock()
	done := c.done
	c.done = nil
	c.mu.Unlock()
	if done == nil {
		return
	}
	for _, wd := range done.watched {
		if c.watches[wd] == nil {
			c.watches[wd] = &watch{make(map[string]*dependent)}
			c.idle = append(c.idle, wd)
		}
	}
	e := done.entry
	valid := e != nil && !c.void && !c.changed(e.deps)
	c.preparing, c.void, c.seen, c.removing = false, false, c.seen[:0], nil
	switch {
	case valid:
		c.insert(e)
		return
	case e != nil:
		c.dropped = append(c.dropped, e.file)
	}
	if old := c.entries[done.path]; old != nil { // expired
		c.drop(old)
	}
	if len(c.failed) >= maxFailed {
		clear(c.failed)
	}
	c.failed[done.path] = c.clock()
}

// changed reports whether a change since the preparation began concerns one of the names.
func (c *Cache) changed(deps []dependent) bool {
	for _, s := range c.seen {
		for i := range deps {
			if d := &deps[i]; s.watch == d.watch && (s.name == "" || s.name == d.name) {
				return true
			}
		}
	}
	return false
}
