package server

import (
	"errors"
	"time"
	"uringhttpd/service/http1"
	"uringhttpd/service/pool"
)

// A disk may hang: a read of it then ends late or never, and cannot be ended. So the
// loop reads nothing. Jobs on workers read what is in memory (source.ReadNow), and what
// is not is read by a pool of its own, whose workers are all that a disk can keep. A
// handler runs there, too, if it would wait (http1.WouldBlock).
//
// One case is left in which a worker of the others waits: of a file of which nothing is
// in memory the kernel begins to read ahead, though it was told not to wait, and if it
// does not know where on the disk the file's bytes are, it reads that, and waits
// (page_cache_sync_ra in mm/readahead.c, ext4_map_blocks in fs/ext4/inode.c). The inode
// must be in memory for that, or the handler has run, and read, where it may wait.

// diskTime is how long a read may take before the log says so, and how long jobs
// may go on when the loop has ended.
const diskTime = 5 * time.Second

// ErrStorage is Run's error when connections were reset since the storage that they
// waited for did not answer.
var ErrStorage = errors.New("server: storage does not answer")

// storage is what the loop knows of those who wait for a disk.
type storage struct {
	slow int // reads that have taken diskTime or more
	hung int // of them, those that have taken stall_timeout
	left int // connections that were given up at the end

	closer pool.Pool    // releases files, one at a time
	unused []http1.File // to be released, in order; the closer has the first
	over   bool         // the loop has ended
}

// work has a worker of p run the job of op.
func (l *loop) work(s *slot, op operation, p pool.Pool) {
	s.working, s.pool, s.asked = true, p, l.now
	l.deadlines.set(s, l.now.Add(min(diskTime, l.gen.stallTimeout)))
	p.Submit(s.token, op.job)
}

// beginRead reads a file into a pipe.
func (l *loop) beginRead(s *slot, op operation) {
	s.reads = l.now
	l.deadlines.set(s, l.now.Add(diskTime))
	l.begin(s, op)
}

// slowRead looks at a job or a read into a pipe that has taken long. What has not begun
// by stall_timeout is withdrawn, and its event is late; what has begun cannot be ended.
func (l *loop) slowRead(s *slot) {
	next := l.now.Add(min(diskTime, l.gen.stallTimeout))
	if p := s.pool; p != nil && !p.Runs(s.token) {
		switch due := s.asked.Add(l.gen.stallTimeout); {
		case l.now.Before(due) && due.Before(next):
			next = due
		case l.now.Before(due):
		case p.Withdraw(s.token):
			s.working, s.pool = false, nil
			l.perform(s, s.conn.step(event{late: true, now: l.now}))
			return
		} // else it has just begun or ended
		l.deadlines.set(s, next)
		return
	}
	l.deadlines.set(s, next)
	if s.reads.IsZero() { // since the last look
		s.reads = l.now
	}
	took := l.now.Sub(s.reads)
	if took >= diskTime && !s.slow {
		s.slow = true
		if l.storage.slow++; l.storage.slow == 1 {
			l.gen.log.Warn("storage does not answer", "for", diskTime)
		}
	}
	if took >= l.gen.stallTimeout && !s.hung {
		s.hung = true
		l.storage.hung++
	}
}

// read comes when a job, or a read into a pipe, has ended.
func (l *loop) read(s *slot) {
	if s.slow {
		if l.storage.slow--; l.storage.slow == 0 {
			l.gen.log.Info("storage answers again")
		}
	}
	if s.hung {
		l.storage.hung--
	}
	s.pool, s.reads, s.slow, s.hung = nil, time.Time{}, false, false
}

// release gives back the files of segments, on a goroutine of its own: the last to release a
// deleted file, as an update leaves it behind for whoever still downloads, frees what it has on
// the disk, and waits for that; a network's file system may wait for its server.
func (l *loop) release(segments []http1.Segment) {
	for _, s := range segments {
		switch {
		case s.File == nil:
		case l.storage.over:
			s.File.Release()
		default:
			l.storage.unused = append(l.storage.unused, s.File)
			if len(l.storage.unused) == 1 {
				l.releaseNext()
			}
		}
	}
}

func (l *loop) releaseNext() { l.storage.closer.Submit(0, l.storage.unused[0].Release) }

// released comes when the closer has released a file.
func (l *loop) released() {
	l.storage.unused = l.storage.unused[1:]
	if len(l.storage.unused) > 0 {
		l.releaseNext()
	}
}

// releaseLast releases what is left when the loop has ended, unless the disk hangs.
func (l *loop) releaseLast() {
	st := &l.storage
	st.over = true
	rest := st.unused
	if len(rest) > 0 && !st.closer.Withdraw(0) {
		rest = rest[1:] // the closer has it, or is done with it
	}
	if !st.closer.Close(diskTime) {
		return
	}
	for _, f := range rest {
		f.Release()
	}
}
