package server

import (
	"errors"
	"time"

	"uringhttpd/service/http1"
	"uringhttpd/service/pool"
)

// Storage may hang: a read then ends late or never, and cannot be cancelled. So the loop
// does not read. Jobs on workers read data in the page cache (source.ReadNow), and other
// data is read by a pool of its own, so that hanging storage can block only that pool's workers.
// A handler also runs there if it would wait (http1.WouldBlock).
//
// In one case a worker of the other pools waits. For a file without any page in memory, the
// kernel starts read-ahead although it was told not to wait. If it does not know the file's
// block mapping, it reads the mapping from the disk, and waits
// (page_cache_sync_ra in mm/readahead.c, ext4_map_blocks in fs/ext4/inode.c). This requires
// that the inode is in memory; otherwise the handler has run, and read, where it may wait.

// diskTime is the duration of a read from which on it is logged as slow, and the time that
// jobs may take after the loop has ended.
const diskTime = 5 * time.Second

// ErrStorage is Run's error when connections were reset because the storage that they
// waited for did not answer.
var ErrStorage = errors.New("server: storage does not answer")

// storage is the loop's state of reads that wait for storage.
type storage struct {
	slow      int // reads that have taken diskTime or more
	hung      int // of these, reads that have taken stall_timeout
	abandoned int // connections given up at the end

	closer pool.Pool    // releases files, one at a time
	unused []http1.File // to be released, in order; the closer is releasing the first
	over   bool         // the loop has ended
}

// submitJob submits the job of op to p.
func (l *loop) submitJob(s *slot, op operation, p pool.Pool) {
	l.setOwner(s, ownerWorker)
	s.pool, s.submittedAt = p, l.now
	l.deadlines.set(s, l.now.Add(min(diskTime, l.gen.stallTimeout)))
	p.Submit(s.token, op.job)
}

// beginFill starts a splice of a file into a pipe.
func (l *loop) beginFill(s *slot, op operation) {
	s.readSince = l.now
	l.deadlines.set(s, l.now.Add(diskTime))
	l.begin(s, op, ownerFill)
}

// checkSlowRead checks a job, or a splice into a pipe, that has taken long. A job that has not begun
// by stall_timeout is cancelled, and its event is late; after it has begun, it cannot be ended.
func (l *loop) checkSlowRead(s *slot) {
	next := l.now.Add(min(diskTime, l.gen.stallTimeout))
	if p := s.pool; s.owner == ownerWorker && !p.Runs(s.token) {
		switch due := s.submittedAt.Add(l.gen.stallTimeout); {
		case l.now.Before(due) && due.Before(next):
			next = due
		case l.now.Before(due):
		case p.Withdraw(s.token):
			l.setOwner(s, ownerNone)
			s.pool = nil
			l.perform(s, s.conn.step(event{late: true, now: l.now}))
			return
		} // else it has just begun or ended
		l.deadlines.set(s, next)
		return
	}
	l.deadlines.set(s, next)
	if s.readSince.IsZero() { // it has begun since the last check
		s.readSince = l.now
	}
	took := l.now.Sub(s.readSince)
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

// readEnded updates the state when a job, or a splice into a pipe, has ended.
func (l *loop) readEnded(s *slot) {
	if s.slow {
		if l.storage.slow--; l.storage.slow == 0 {
			l.gen.log.Info("storage answers again")
		}
	}
	if s.hung {
		l.storage.hung--
	}
	s.pool, s.readSince, s.slow, s.hung = nil, time.Time{}, false, false
}

// releaseFiles releases the files of segments on a goroutine of its own. The last release of a
// deleted file, such as an update leaves for its remaining downloads, frees the file's blocks
// on the disk, and waits for that; a network file system may wait for its server.
func (l *loop) releaseFiles(segments []http1.Segment) {
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

// fileReleased continues after the closer has released a file.
func (l *loop) fileReleased() {
	l.storage.unused = l.storage.unused[1:]
	if len(l.storage.unused) > 0 {
		l.releaseNext()
	}
}

// releaseAtExit releases the remaining files when the loop has ended, unless storage hangs.
func (l *loop) releaseAtExit() {
	st := &l.storage
	st.over = true
	rest := st.unused
	if len(rest) > 0 && !st.closer.Withdraw(0) {
		rest = rest[1:] // the closer is releasing it, or has released it
	}
	if !st.closer.Close(diskTime) {
		return
	}
	for _, f := range rest {
		f.Release()
	}
}
