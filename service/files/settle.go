package files

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/service/http1"
)

// The kernel takes the timestamps of a file from a clock that advances once per tick. Two
// changes within one tick leave the same timestamps, so an identity with a timestamp in the
// current tick may come to name two contents. (Git has the same problem with its index, and
// calls such entries racily clean.)
const (
	// tick is the longest period of the clock of the timestamps: CONFIG_HZ=100.
	tick = 10 * time.Millisecond

	// longTick is the same for file systems whose timestamps have no fractions: FAT
	// counts in 2 s, ext4 with inodes of 128 bytes and JFFS2 in 1 s.
	longTick = 2 * time.Second

	// maxSettles is the largest number of waits for one file.
	maxSettles = 3

	// maxSlow is the largest number of requests that wait for whole seconds, or wait again, at
	// a time. Each occupies a goroutine of the server, which may have few.
	maxSlow = 2
)

// errUnsettled is the error for a file that keeps changing.
var errUnsettled = errors.New("files: the file is being changed")

// A system is the set of kernel interfaces for an open file. Tests substitute their own.
type system struct {
	// now reads the clock that the kernel takes file timestamps from.
	now func() time.Time
	// identify returns the identity of a descriptor.
	identify func(fd int) (identity, error)
	// identifyNow is identify with the attributes in the kernel's memory, and never waits.
	identifyNow func(fd int) (identity, error)
	// path returns the path of an open file, or "" if it is not known.
	path func(fd int) string
	// origin returns the origin of an open file.
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

// coarseTime reads CLOCK_REALTIME_COARSE, the source of current_time in fs/inode.c.
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

// errPostponed is the error for a file that is checked again when the server calls the handler
// again. The handler sends no response until then.
var errPostponed = errors.New("files: postponed")

// callerOf returns the caller for a request.
func callerOf(r *http.Request) caller {
	return caller{r.Context(), func(d time.Duration) (ok, supported bool) { return http1.Postpone(r, d) }}
}

// settled returns the identity of a descriptor as soon as another change of the file could not
// lead to the same identity. The error is errUnsettled if the file keeps changing, errPostponed
// if the handler is to be called again, the error of the request's context if that ends first,
// or an error of identify.
func (h *handler) settled(c caller, fd int) (identity, error) {
	for try := 0; ; try++ {
		// The clock is read first, so that a change between the two calls counts as recent.
		now := h.system.now()
		stat, err := h.system.identify(fd)
		if err != nil || !stat.isRegular() {
			return stat, err
		}
		left := stat.unsettled(now)
		if left == 0 {
			return stat, nil
		}
		ok, supported := c.postpone(left + tick) // as in pause
		switch {
		case ok:
			return stat, errPostponed
		case supported || try == maxSettles:
			return stat, errUnsettled
		}
		if err := h.pause(c.ctx, left, try > 0); err != nil {
			return stat, err
		}
	}
}

// pause waits until the clock of the timestamps has advanced by d. Waits for seconds, and
// waits for a file that has changed again, are limited to maxSlow requests at a time: requests
// for a log file that is always being written must not block all other requests. If the limit
// is reached, the error is errUnsettled.
func (h *handler) pause(ctx context.Context, d time.Duration, again bool) error {
	if d > 2*tick || again {
		select {
		case h.slow <- struct{}{}:
			defer func() { <-h.slow }()
		default:
			return errUnsettled
		}
	}
	// The clock may lag by a tick when the wait begins or ends.
	return h.system.wait(ctx, d+tick)
}

// unsettled returns how long after now the identity must not be trusted.
func (was identity) unsettled(now time.Time) time.Duration {
	granule := tick
	// mtime does not show the granularity: tools set it, and many to whole seconds.
	if was.changed.nanoseconds == 0 {
		granule = longTick
	}
	return max(was.modified.youth(now, granule), was.changed.youth(now, granule))
}

// youth returns how long after now the timestamp m stays younger than granule. A timestamp in
// the future counts as old: a board without a battery-backed clock starts in the past, and
// files that are written there get other timestamps. A timestamp less than one granule ahead
// counts as young: since Linux 6.13 a timestamp may be ahead of the coarse clock, within the
// same tick.
func (m moment) youth(now time.Time, granule time.Duration) time.Duration {
	age := now.Sub(m.time())
	if age >= granule || age <= -granule {
		return 0
	}
	return granule - age
}
