package service

import (
	"context"
	"log/slog"

	"golang.org/x/sys/unix"

	"uringhttpd/config"
	"uringhttpd/platform"
	"uringhttpd/service/files"
	"uringhttpd/service/http1"
)

const (
	// maxBody is the largest file in bytes that the cache keeps in memory, if it has the memory for
	// bodiesKept files of that size.
	maxBody    = 1 << 20
	bodiesKept = 8
	// answerMemory is the memory per answer for which the number of answers is computed: some 1 KiB
	// for its head, and the mean of small files.
	answerMemory = 8 << 10
	// maxAnswers limits the open files of the cache.
	maxAnswers = 8192
	// minAnswers is the number of answers below which a cache is not worth its watches.
	minAnswers = 16
)

// newCache returns the cache of prepared answers, or nil if there is none.
func (d *Daemon) newCache(served files.Options) http1.Cache {
	limits := cacheLimits(d.Config.Limits, platform.Memory(), openFiles())
	if limits.Entries == 0 {
		if d.Config.Limits.Cache != 0 {
			d.logNoCache("limits.cache, or the limit of open files (LimitNOFILE=), is too small")
		}
		return nil
	}
	cache, err := files.NewCache(d.Opened.Root, served, limits)
	if err != nil {
		d.logNoCache(err.Error())
		return nil
	}
	return cache
}

// logNoCache logs why there is no cache: as a warning if the configuration asks for one.
func (d *Daemon) logNoCache(reason string) {
	level := slog.LevelWarn
	if d.Config.Limits.Cache == config.CacheAuto {
		level = slog.LevelInfo
	}
	d.log.Log(context.Background(), level, "no cache of answers", "reason", reason)
}

// cacheLimits returns the limits of the cache for a machine with memory bytes, and a process that
// may open descriptors files. No entries mean no cache.
func cacheLimits(l config.Limits, memory int64, descriptors uint64) files.CacheLimits {
	bytes := l.Cache
	if bytes == config.CacheAuto {
		bytes = min(max(memory/64, 1<<20), 64<<20)
	}
	entries := min(bytes/answerMemory, maxAnswers)
	if needed := uint64(l.Connections)*descriptorsEach + descriptorsBase; descriptors < needed+uint64(entries) {
		// An eighth, if the limit does not suffice for all connections anyway.
		entries = min(entries, int64(max(descriptors/8, descriptors-min(descriptors, needed))))
	}
	if entries < minAnswers {
		return files.CacheLimits{}
	}
	return files.CacheLimits{Entries: int(entries), Bytes: bytes, Body: min(maxBody, bytes/bodiesKept)}
}

// openFiles returns how many files this process may open: the hard limit, to which Go's runtime has
// raised the soft limit. It returns 0 if that is not known.
func openFiles() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Max
}
