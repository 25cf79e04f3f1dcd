package files

import (
	"context"
	"errors"
	"net/http"
	"time"
	"uringhttpd/service/http1"

	"golang.org/x/sys/unix"
)

// A kernel stamps a file with a clock that stands still for a tick. Two changes
// within one tick leave the same stamps, so an identity with a stamp of the tick
// that is not over yet may come to name two contents. (Git has the same trouble
// with its index, and calls such entries racily clean.)
const (
	// tick is the longest that the clock of stamps stands still: CONFIG_HZ=100.
	tick = 10 * time.Millisecond

	// longTick is the same for file systems that keep no fractions: FAT
	// counts in 2 s, ext4 with inodes of 128 bytes and JFFS2 in 1 s.
	longTick = 2 * time.Second

	// maxSettles bounds how often a file is waited for.
	maxSettles = 3

	// maxSlow bounds how many requests wait for whole seconds, or once more, at a
	// time. Each has a goroutine of the server, of which there may be few.
	maxSlow = 2
)

// errUnsettled is the error for a file that is being changed all the time.
var errUnsettled = errors.New("files: the file is being changed")

// A system is what the kernel is asked about an open file. Tests have their own.
type system struct {
	// now reads the clock that the kernel stamps files with.
	now func() time.Time
	// identify returns the identity of a descriptor.
	identify func(fd int) (identity, error)
	// identifyNow is identify of what is in the kernel's memory, and never waits.
	identifyNow func(fd int) (identity, error)
	// path returns the path of an open file, or "" if it is not known.
	path func(fd int) string
	// origin returns where an open file comes from.
	origin func(fd int, stat identity) origin
	// wait returns after d, or with an error when ctx ends.
	wait func(ctx context.Context, d time.Duration) error
}

func kernel() system {
	return system{
		now:      coarseTime,
		identify: func(fd int) (identity, error) { return identify(fd, "", unix.AT_EMPTY_PATH) },
		identifyNow: func(fd int) (identity, error) {
			return identify(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC)
		},
		path:   descriptorPath,
		origin: kernelOrigin().of,
		wait:   wait,
	}
}

// coarseTime reads CLOCK_REALTIME_COARSE, which current_time in fs/inode.c is
// taken from.
func coarseTime() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts); err != nil {
		panic("files: " + err.Error()) // the clock is as old as Linux 2.6.32
	}
	return time.Unix(ts.Unix())
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errPostponed is the error for a file that is looked at again when the server calls the handler
// again. There is no answer until then.
var errPostponed = errors.New("files: postponed")

// settled returns the identity of a descriptor once another change of the file
// could not have the same. The error is errUnsettled if that does not come, errPostponed if it
// may come later, that of the request's context if it ends before, or that of identify.
func (h *handler) settled(r *http.Request, fd int) (identity, error) {
	for try := 0; ; try++ {
		// The clock comes first, so that a change between the two is young.
		now := h.system.now()
		stat, err := h.system.identify(fd)
		if err != nil || !stat.isRegular() {
			return stat, err
		}
		left := stat.unsettled(now)
		if left == 0 {
			return stat, nil
		}
		ok, supported := http1.Postpone(r, left+tick) // as in pause
		switch {
		case ok:
			return stat, errPostponed
		case supported || try == maxSettles:
			return stat, errUnsettled
		}
		if err := h.pause(r.Context(), left, try > 0); err != nil {
			return stat, err
		}
	}
}

// pause waits until the clock of stamps has gone on by d. Waits for seconds, and
// those for a file that has changed again, are for few at a time: who asks for a
// log that is written all the time must not hold up all others.
func (h *handler) pause(ctx context.Context, d time.Duration, again bool) error {
	if d > 2*tick || again {
		select {
		case h.slow <- struct{}{}:
			defer func() { <-h.slow }()
		default:
			return errUnsettled
		}
	}
	// That clock may be behind by a tick when the wait begins or ends.
	return h.system.wait(ctx, d+tick)
}

// unsettled returns for how long after now the identity must not be trusted.
func (was identity) unsettled(now time.Time) time.Duration {
	granule := tick
	// Of mtime that says nothing: tools set it, and many to whole seconds.
	if was.changed.nanoseconds == 0 {
		granule = longTick
	}
	return max(was.modified.youth(now, granule), was.changed.youth(now, granule))
}

// youth returns for how long after now a stamp is younger than granule. One from
// the future is not: a board without a clock starts in the past, and what is
// written there has other stamps. Only up to a granule ahead it is: since Linux
// 6.13 a stamp may be ahead of the coarse clock, within the same tick.
func (m moment) youth(now time.Time, granule time.Duration) time.Duration {
	age := now.Sub(m.time())
	if age >= granule || age <= -granule {
		return 0
	}
	return granule - age
}
