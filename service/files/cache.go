package files

import (
	"errors"
	"hash/maphash"
	"net/http"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// CacheLimits bound a Cache.
type CacheLimits struct {
	Entries int   // answers; each holds an open file
	Bytes   int64 // memory of the answers, estimated
	Body    int64 // largest file in bytes that is kept in memory; larger files are kept open only
}

// A Cache is an http1.Cache for the regular files below a root. It gives the answers that the
// handler gives, byte for byte, or none. See the package comment, Cache.
type Cache struct {
	handler *handler
	usable  bool // the root's file system reports all changes of names
	limits  CacheLimits
	clock   func() time.Time
	names   *watcher

	entries map[string]*entry // by decoded path
	used    entry             // head of a ring, newer than each entry: older is the entry used last, newer, around the ring, the one used first
	bytes   int64             // sum of the entries' costs
	unowned int64             // bytes of bodies that answers being sent use, and no entry
	round   uint64            // number of calls of Update
	watches map[int32]*watch
	idle    []int32              // watches that had no entry when they were added here
	failed  map[string]time.Time // paths that could not be prepared
	crowded bool                 // an entry was dropped for lack of room
	asked   askedPaths
	dropped []http1.File

	// The answer that is being prepared.
	preparing bool
	void      bool         // the answer must not be used
	seen      []dependency // changes since the preparation began
	removing  []int32      // watches that the job removes

	mu     sync.Mutex
	done   *preparation // guarded by mu
	closed bool         // guarded by mu

	// Memory for one call.
	path   []byte
	spans  [4]span
	statx  unix.Statx_t
	date   []byte // value of Date in the second dated
	dated  int64
	events []byte
}

// A watch is a watched directory.
type watch struct {
	names map[string]*dependent // the first of the entries that depend on a name in the directory
}

// A dependency is a name in a watched directory.
type dependency struct {
	watch int32
	name  string // "": the directory itself
}

// A dependent is a dependency of an entry, in the list of the entries that depend on the same name.
type dependent struct {
	dependency
	entry          *entry
	previous, next *dependent
}

// An entry is a prepared answer.
type entry struct {
	content
	path  string
	file  *File
	body  *body // nil: not in memory
	deps  []dependent
	born  time.Time     // before the content was read
	life  time.Duration // 0: unlimited
	round uint64        // of the last check
	cost  int64         // bytes

	kind      string // line of Content-Type
	described string // all lines after Date, with the empty line
	tagged    string // the same for 304

	newer, older *entry
}

const (
	// memoryLife is the longest time that a body stays in memory. Stores into a shared mapping, and
	// the rest of a write(2) that had begun, change a file without a change of its timestamps
	// until the kernel writes the page back. The handler sends the page cache, and so the
	// last content. A copy in memory must not be older than a client may notice.
	memoryLife = 2 * time.Second
	// imageLife is the longest time for a file from an image, whose entity tag depends on the
	// number of sectors written to the device.
	imageLife = time.Second
	// retry is the time until a path that could not be prepared is prepared again.
	retry = time.Second
	// maxFailed is the largest number of such paths that are remembered.
	maxFailed = 256
	// maxPath is the largest length in bytes of a decoded path.
	maxPath = 1024
	// overhead is the estimated memory of an entry without its strings and body.
	overhead = 1024
)

// NewCache returns a cache for the handler that New returns for the same root and options. The
// root and opts.Directory must stay open until Close. The error says why changes of files cannot
// be observed; then there is no cache.
func NewCache(root *os.Root, opts Options, limits CacheLimits) (*Cache, error) {
	c, err := newCache(newHandler(root, opts, kernel()), limits)
	if err == nil && !c.usable {
		c.Close()
		return nil, errors.New("files: the kernel does not report all changes on the file system of the root")
	}
	return c, err
}

func newCache(h *handler, limits CacheLimits) (*Cache, error) {
	names, err := newWatcher()
	if err != nil {
		return nil, err
	}
	c := &Cache{
		handler: h, limits: limits, clock: time.Now, names: names,
		usable:  h.local && reportsNames(h.options.Directory),
		entries: make(map[string]*entry), asked: askedPaths{seed: maphash.MakeSeed()}, watches: make(map[int32]*watch), failed: make(map[string]time.Time),
		path: make([]byte, 0, maxPath), date: make([]byte, 0, len(http.TimeFormat)), events: make([]byte, 8<<10),
	}
	c.used.newer, c.used.older = &c.used, &c.used
	return c, nil
}

// Answer implements http1.Cache.
func (c *Cache) Answer(h *http1.Head, now time.Time, room []byte, ends bool) (http1.Answer, bool) {
	var q conditions
	if h.Method != http.MethodGet && h.Method != http.MethodHead || !plain(h, &q) {
		return http1.Answer{}, false
	}
	path, ok := decode(c.path, h.Path)
	if !ok {
		return http1.Answer{}, false
	}
	e := c.entries[string(path)]
	if e == nil {
		return http1.Answer{}, false
	}
	switch {
	case e.expired(now):
		return http1.Answer{}, false // Prepare renews it
	case !c.valid(e):
		c.drop(e)
		return http1.Answer{}, false
	}
	if e.modified.After(now) {
		return http1.Answer{}, false // the clock was set back: see lastModified
	}
	status, spans, _ := e.choose(h.Method, &q, now, c.spans[:0])
	whole := span{0, e.size}
	switch {
	case status == http.StatusOK, status == http.StatusNotModified:
	case status == http.StatusPartialContent && len(spans) == 1:
		whole = spans[0]
	default:
		return http1.Answer{}, false
	}
	c.touch(e)
	return c.answer(e, h, status, whole, now, room, ends), true
}

// expired reports whether the life of an entry has ended.
func (e *entry) expired(now time.Time) bool { return e.life > 0 && now.Sub(e.born) >= e.life }

// valid reports whether an entry still has the file's content and attributes.
func (c *Cache) valid(e *entry) bool {
	if e.round == c.round {
		return true // checked after the request was received
	}
	is, ok := identifyOpen(e.file.fd, &c.statx)
	if !ok || is != e.file.stat {
		return false
	}
	e.round = c.round
	return true
}

// answer returns an answer with a part of the file.
func (c *Cache) answer(e *entry, h *http1.Head, status int, part span, now time.Time, room []byte, ends bool) http1.Answer {
	if second := now.Unix(); second != c.dated || len(c.date) == 0 {
		c.date, c.dated = now.UTC().AppendFormat(c.date[:0], http.TimeFormat), second
	}
	a := http1.Answer{Path: e.path, Status: status, Head: e.appendHead(room, status, part, h.Minor, ends, c.date)[len(room):]}
	if status == http.StatusNotModified {
		return a
	}
	a.Length = part.length
	switch {
	case h.Method == http.MethodHead || part.length == 0:
	case e.body != nil:
		a.Memory = e.body.bytes[part.start : part.start+part.length : part.start+part.length]
		a.Lease = e.body.lease()
	default:
		e.file.Acquire()
		a.File, a.Off, a.N = e.file, part.start, part.length
	}
	return a
}

// appendHead appends the head of an answer, with the fields in the order of http.Header.Write.
func (e *entry) appendHead(b []byte, status int, part span, minor int, ends bool, date []byte) []byte {
	switch status {
	case http.StatusNotModified:
		b = append(b, "HTTP/1.1 304 Not Modified\r\n"...)
	case http.StatusPartialContent:
		b = append(b, "HTTP/1.1 206 Partial Content\r\nAccept-Ranges: bytes\r\n"...)
	default:
		b = append(b, "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\n"...)
	}
	switch {
	case ends:
		b = append(b, "Connection: close\r\n"...)
	case minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	if status != http.StatusNotModified {
		b = appendInt(append(b, "Content-Length: "...), part.length)
		if status == http.StatusPartialContent {
			b = part.appendContentRange(append(b, "\r\nContent-Range: "...), e.size)
		}
		b = append(append(b, "\r\n"...), e.kind...)
	}
	b = append(append(b, "Date: "...), date...)
	if status == http.StatusNotModified {
		return append(b, e.tagged...)
	}
	return append(b, e.described...)
}

// Dropped implements http1.Cache.
func (c *Cache) Dropped(to []http1.File) []http1.File {
	to = append(to, c.dropped...)
	clear(c.dropped)
	c.dropped = c.dropped[:0]
	return to
}

// Close implements http1.Cache. A job that is still running ends without an effect.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	done := c.done
	c.done = nil
	c.mu.Unlock()
	if done != nil && done.entry != nil {
		done.entry.file.Release()
	}
	c.dropAll()
	for _, f := range c.Dropped(nil) {
		f.Release()
	}
	c.names.close()
}

// plain reports whether the head has no body and no repeated condition, and stores its conditions
// in q. They are valid as long as the head's bytes.
func plain(h *http1.Head, q *conditions) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		var to *field
		switch len(f.Name) {
		case len("range"):
			to = selectField(f.Name, "range", &q.ranges)
		case len("expect"):
			if equalFold(f.Name, "expect") {
				return false
			}
		case len("if-match"): // and len("if-range")
			to = selectField(f.Name, "if-match", &q.match)
			if to == nil {
				to = selectField(f.Name, "if-range", &q.ifRange)
			}
		case len("if-none-match"):
			to = selectField(f.Name, "if-none-match", &q.noneMatch)
		case len("content-length"):
			if equalFold(f.Name, "content-length") {
				return false
			}
		case len("if-modified-since"): // and len("transfer-encoding")
			if equalFold(f.Name, "transfer-encoding") {
				return false
			}
			to = selectField(f.Name, "if-modified-since", &q.modifiedSince)
		case len("if-unmodified-since"):
			to = selectField(f.Name, "if-unmodified-since", &q.unmodifiedSince)
		}
		if to == nil {
			continue
		}
		if to.lines++; to.lines > 1 {
			return false
		}
		to.value = unsafe.String(unsafe.SliceData(f.Value), len(f.Value))
	}
	return true
}

// selectField returns to if the name is lower, else nil.
func selectField(name []byte, lower string, to *field) *field {
	if equalFold(name, lower) {
		return to
	}
	return nil
}

// equalFold reports whether the name of a header field is lower, which is in lower case and as long
// as the name.
func equalFold(name []byte, lower string) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
