package server

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"uringhttpd/service/http1"
	"uringhttpd/uring"
)

// simCache is the cache of a simulated world. It has an answer to some requests.
type simCache struct {
	w         *world
	updated   bool // Update was called after the last data was received
	preparing bool
}

func (c *simCache) Update() {
	c.updated = true
	c.w.cacheChanged = false
}

func (c *simCache) FD() int { return -2 }

func (c *simCache) Close() {}

func (c *simCache) Dropped(files []http1.File) []http1.File {
	if !c.w.chance(50) {
		return files
	}
	f := &simOpen{w: c.w, version: c.w.file.version, size: c.w.file.size}
	f.Acquire()
	return append(files, f)
}

func (c *simCache) Prepare(string) func() {
	if c.preparing || c.w.chance(500) {
		return nil
	}
	c.preparing = true
	return func() {
		if c.w.in != c.w.loop.disk {
			c.w.fault("an answer is prepared where nothing may wait for the disk")
		}
		c.preparing = false
	}
}

// simLease is the lease of an answer's memory.
type simLease struct {
	w     *world
	ended bool
}

func (l *simLease) Release() {
	if l.ended {
		l.w.fault("the lease of an answer is released twice")
	}
	l.ended = true
	l.w.leases--
}

func (c *simCache) Answer(h *http1.Head, _ time.Time, room []byte, ends bool) (answer http1.Answer, ok bool) {
	w := c.w
	if !c.updated {
		w.fault("an answer from a cache that does not know the last changes")
	}
	for _, f := range w.flights {
		if overlap(f.op.buf, room[:cap(room)]) {
			w.fault("an answer is written to a buffer that is being sent")
		}
	}
	if w.chance(300) {
		return answer, false
	}
	var client *simClient
	for _, f := range h.Fields {
		if string(f.Name) == "Client" {
			port, err := strconv.Atoi(string(f.Value))
			if err != nil {
				panic(err)
			}
			client = w.clients[port-1000]
		}
	}
	a := &simAnswer{version: w.file.version, head: h.Method == http.MethodHead}
	switch string(h.Path) {
	case "/memory":
		a.parts = append(a.parts, ownPage(memoryPage))
	case "/file":
		a.parts = append(a.parts, simPage{file: w.file, n: int(w.file.size)})
	default:
		return answer, false
	}
	answer.Status, answer.Length = http.StatusOK, int64(total(a.parts))
	answer.Head = fmt.Appendf(room, "HTTP/1.1 200 OK\r\nAnswer: %d\r\nContent-Length: %d\r\n", len(client.answers), answer.Length)
	if ends {
		answer.Head = append(answer.Head, "Connection: close\r\n"...)
	}
	answer.Head = append(answer.Head, "\r\n"...)
	client.answers = append(client.answers, a)
	switch {
	case a.head:
	case w.file.size > 0 && string(h.Path) == "/file" && !w.chance(300):
		f := &simOpen{w: w, version: w.file.version, size: w.file.size}
		f.Acquire()
		answer.File, answer.N = f, f.size
	default: // the bytes that the file has now
		answer.Memory, answer.Lease = a.body(), &simLease{w: w}
		w.leases++
	}
	return answer, true
}

// received notes that a client's data has been received, or may have been.
func (w *world) received() {
	if w.cache != nil {
		w.cache.updated = false
	}
}

func (w *world) awaitReadable(fd int, token uint64) (uring.Handle, error) {
	return w.launch(&flight{kind: flightCache, fd: fd, token: token})
}
