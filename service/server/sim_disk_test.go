package server

import (
	"io"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// simDisk is the storage of the file of a simulated world.
type simDisk struct {
	workers int  // that may wait for it
	mortal  bool // it hangs at some time
	heals   bool // after that it answers again, at some time
	hangs   bool // it does not answer; cached data can be read
	hung    bool // it did, once
}

func (w *world) newDisk() simDisk {
	return simDisk{workers: 1 + w.choice(3), mortal: w.chance(200), heals: !w.chance(400)}
}

// fate makes the disk hang, or answer again. While it hangs for good, the clients that wait
// for it are excused, and no others.
func (d *simDisk) injectFailures(w *world) {
	switch {
	case d.mortal && !d.hung && w.chance(20):
		d.hangs, d.hung = true, true
	case d.hangs && d.heals && !w.chance(995): // at once, in a tame world
		d.hangs = false
	}
	if !d.hangs || d.heals {
		return
	}
	for _, c := range w.clients {
		if s := w.slotOf(c.sock.fd); s != nil && (s.owner == ownerWorker && s.pool == w.loop.disk || s.owner == ownerFill || s.owner == ownerFillQueue) {
			c.excused("the disk hangs")
		}
	}
}

// hangs reports whether an operation waits for a disk that hangs.
func (w *world) hangs(f *flight) bool {
	return w.disk.hangs && f.kind == flightOp && f.op.kind == opSpliceIn
}

// waitsForWorker reports whether a job has not begun because all workers are busy.
func (w *world) waitsForWorker(j simJob) bool { return j.pool == w.loop.disk && !j.begun }

// beginJobs gives jobs to the workers that wait for the disk, in order.
func (w *world) beginJobs() {
	n := 0
	for i := range w.jobs {
		j := &w.jobs[i]
		if j.pool != w.loop.disk {
			continue
		}
		if !j.begun && w.chance(100) {
			return
		}
		if n++; n > w.disk.workers {
			return
		}
		j.begun = true
	}
}

// waited finds jobs that should have been withdrawn.
func (w *world) waited() {
	for _, j := range w.jobs {
		if j.token != tokenPrepare && (j.pool == w.loop.disk || j.pool == w.loop.workers) && !j.begun && w.clock.Sub(j.at) >= w.loop.gen.stallTimeout {
			w.fault("a job has not begun for %v", w.clock.Sub(j.at))
		}
	}
}

func (p *simPool) Withdraw(token uint64) bool {
	for i, j := range p.w.jobs {
		if j.pool == p && j.token == token && !j.begun {
			p.w.jobs = append(p.w.jobs[:i:i], p.w.jobs[i+1:]...)
			return true
		}
	}
	return false
}

func (p *simPool) Runs(token uint64) bool {
	for _, j := range p.w.jobs {
		if j.pool == p && j.token == token {
			return j.begun
		}
	}
	return false
}

func (h simHandler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	onDisk := r.URL.Path == "/file" || r.URL.Path == "/parts"
	switch {
	case http1.MayBlock(r):
		if h.in == nil || h.in != h.loop.disk {
			h.fault("a handler that may wait for the disk runs where nothing may")
		}
	case onDisk && h.chance(200):
		http1.WouldBlock(r)
		return
	}
	if !h.postpones(r) {
		h.handle(rw, r)
	}
}

// postpones reports whether the handler asks to be called again.
func (h simHandler) postpones(r *http.Request) bool {
	if !h.chance(100) {
		return false
	}
	ok, _ := http1.Postpone(r, time.Duration(h.choice(3000))*time.Millisecond)
	return ok
}

// fails reports whether the disk fails now.
func (w *world) fails() bool {
	if !w.chance(1) || !w.chance(50) {
		return false
	}
	for _, c := range w.clients {
		c.excused("the disk failed")
	}
	return true
}

func (f *simOpen) ReadNow(p []byte, off int64) (int, error) {
	if f.w.in == nil {
		f.w.fault("a file is read on the loop's thread, which waits for where it is on the disk")
	}
	if f.w.chance(150) {
		return 0, unix.EAGAIN
	}
	return f.read(p, off)
}

func (f *simOpen) ReadAt(p []byte, off int64) (int, error) {
	if f.w.in == nil || f.w.in != f.w.loop.disk {
		f.w.fault("a read waits for the disk where nothing may")
	}
	return f.read(p, off)
}

// read reads the available bytes, or fewer, and the world may change meanwhile.
func (f *simOpen) read(p []byte, off int64) (int, error) {
	w := f.w
	if w.changing && w.chance(w.changeRate) {
		w.change()
	}
	switch {
	case w.chance(20):
		return 0, unix.EINTR
	case w.chance(20):
		return 0, []error{unix.ENOMEM, unix.ENOBUFS}[w.choice(2)]
	case w.fails():
		return 0, unix.EIO
	}
	n := int(max(min(int64(len(p)), w.file.size-off), 0))
	if n == 0 {
		return 0, []error{nil, io.EOF}[w.choice(2)]
	}
	n = w.upTo(n)
	copy(p, simPage{file: w.file, off: off, n: n}.appendTo(nil))
	return n, nil
}

// closedUnderJob finds a job that reads a file which is being closed.
func (w *world) closedUnderJob(f *simOpen) {
	for _, j := range w.jobs {
		if j.pool != w.loop.disk && j.pool != w.loop.workers || j.token == tokenPrepare {
			continue
		}
		if c := w.loop.slots[j.token].conn; c != nil && len(c.transfer.pieces) > 0 && c.transfer.pieces[0].file == http1.File(f) {
			w.fault("a file is closed under a job that reads it")
		}
	}
}

// heldByDisk counts the jobs and operations that a hanging disk blocks.
type heldByDisk struct{ jobs, flights int }

func (h heldByDisk) all() int { return h.jobs + h.flights }

func (w *world) hanging() (h heldByDisk) {
	for _, j := range w.jobs {
		if j.pool == w.loop.disk && j.begun && w.disk.hangs {
			h.jobs++
		}
	}
	for _, f := range w.flights {
		if w.hangs(f) {
			h.flights++
		}
	}
	return h
}

// endHanging ends the sessions of connections that a disk keeps, which the end of the
// process does.
func (w *world) endHanging() {
	for _, j := range w.jobs {
		if j.token == tokenPrepare {
			continue
		}
		if c := w.loop.slots[j.token].conn; j.pool == w.loop.disk && c.session != nil {
			c.session.Close()
		}
	}
	for _, f := range w.flights {
		if i := int(f.token) - tokenBase - len(w.loop.listeners); w.hangs(f) && w.loop.slots[i].conn.session != nil {
			w.loop.slots[i].conn.session.Close()
		}
	}
}
