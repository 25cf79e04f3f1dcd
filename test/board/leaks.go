package board

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Held counts the resources of a daemon, including those in the kernel. The difference of
// two of them, before and after a load, shows leaks.
type Held struct {
	FDs     map[string]int // descriptors by kind: socket, pipe, anon_inode, file
	Workers int            // threads of io_uring
	Threads int            // all other threads
	Locked  int64          // bytes
	Slab    map[string]int // objects in use, by cache
	// Varied is set if loads of many kinds follow this baseline: for each kind of operation
	// the ring keeps objects to use again.
	Varied bool

	stacks []string // of io_uring's threads
}

const (
	// idleWorkers is the number of workers that stay when io_uring is idle: one of the bounded
	// and one of the unbounded workers never ends (io_uring/io-wq.c).
	idleWorkers = 2
	// threadMargin is how many threads Go may have added at random. Go never ends a thread.
	threadMargin = 4
	// slabMargin is less than the number of downloads of the load, each of which would leave
	// an object, and at least one slab of the smallest objects counted: while a processor
	// allocates from a slab, all of the slab counts as in use. The growth measured without a
	// leak was 0 in the caches of sockets, files and buffers; 21 in kmalloc-192 and 32 in
	// kmalloc-128, which is one slab each.
	slabMargin = 32
	// napiCache is the maximum number of buffer heads that a processor keeps, including heads
	// of received data (napi_skb_cache_put in net/core/skbuff.c). Shrinking the cache does not
	// free them; 33 more were measured after some hundred downloads.
	napiCache = 64
	// ringCache is the number of objects of a kind that a ring keeps (IO_ALLOC_CACHE_MAX in
	// io_uring/alloc_cache.h; before Linux 6.10 it is 512, and at most the number of
	// simultaneous operations). 37 more in kmalloc-512 were measured after a thousand downloads.
	ringCache = 128
)

// slabs are the caches that would grow with a leak of a connection, a transfer or an
// operation. Contexts of kernel TLS and pipes are in kmalloc caches.
var slabs = []string{
	"TCP", "TCPv6", "request_sock_TCP", "request_sock_TCPv6", "sock_inode_cache", "filp", "inode_cache",
	"skbuff_head_cache", "skbuff_fclone_cache", "skbuff_small_head", "io_kiocb", "task_struct",
}

// isSlab excludes the small kmalloc caches: all of the kernel uses them, kmalloc-96 varied by
// 126, and no object of a connection is as small.
func isSlab(name string) bool {
	size, ok := strings.CutPrefix(name, "kmalloc-")
	if !ok {
		return slices.Contains(slabs, name)
	}
	if i := strings.LastIndexByte(size, '-'); i >= 0 { // kmalloc-cg-1k
		size = size[i+1:]
	}
	return !slices.Contains([]string{"8", "16", "32", "64", "96"}, size)
}

// Held counts the daemon's resources.
func (p *Process) Held(ctx context.Context) (Held, error) {
	u, err := p.Usage(ctx)
	if err != nil {
		return Held{}, err
	}
	h := Held{FDs: map[string]int{}, Locked: u.Locked, stacks: u.Workers}
	for _, fd := range u.FDs {
		_, target, _ := strings.Cut(fd, " ")
		kind, _, ok := strings.Cut(target, ":[")
		switch {
		case strings.HasPrefix(target, "anon_inode:"):
			kind = "anon_inode"
		case !ok:
			kind = "file"
		}
		h.FDs[kind]++
	}
	for _, name := range u.Threads {
		if strings.HasPrefix(name, "iou-") {
			h.Workers++
		} else {
			h.Threads++
		}
	}
	h.Slab, err = p.m.slab(ctx)
	return h, err
}

// slab returns the number of objects in use. Objects that processors keep ready count as in
// use, unless the cache is shrunk first.
func (m *Machine) slab(ctx context.Context) (map[string]int, error) {
	read := func() (map[string]int, error) {
		b, err := m.ReadFile(ctx, "/proc/slabinfo")
		if err != nil {
			return nil, err
		}
		all, err := parseSlabInfo(string(b))
		maps.DeleteFunc(all, func(name string, _ int) bool { return !isSlab(name) })
		return all, err
	}
	all, err := read()
	if err != nil {
		return nil, err
	}
	for name := range all {
		if err := m.WriteFile(ctx, "/sys/kernel/slab/"+name+"/shrink", []byte("1"), 0o644); err != nil {
			return nil, err
		}
	}
	return read()
}

// Leaks returns the resources of which after has more than h; nothing if there is no leak. A
// baseline without Slab was taken before caches were warm, so threads do not count either.
func (h Held) Leaks(after Held) []string {
	var leaks []string
	more := func(what string, before, after, margin int) {
		if after > before+margin {
			leaks = append(leaks, fmt.Sprintf("%s: %d, then %d", what, before, after))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(after.FDs)) {
		more("descriptors, "+kind, h.FDs[kind], after.FDs[kind], 0)
	}
	more("threads of io_uring", idleWorkers, after.Workers, 0)
	more("bytes of locked memory", int(h.Locked), int(after.Locked), 0)
	if h.Slab == nil {
		return leaks
	}
	more("other threads", h.Threads, after.Threads, threadMargin)
	for _, name := range slices.Sorted(maps.Keys(after.Slab)) {
		margin := slabMargin
		if name == "skbuff_head_cache" {
			margin += napiCache
		}
		if h.Varied && strings.HasPrefix(name, "kmalloc-") {
			margin += ringCache
		}
		more("objects, "+name, h.Slab[name], after.Slab[name], margin)
	}
	return leaks
}

// AwaitHeld waits until nothing has leaked since before, and returns the resources held then.
// When patience is over, it returns an error that wraps ErrLeak. Connections end some time
// after their clients, and idle workers after seconds, without an event to wait for. The files
// that the daemon's cache keeps open are no leak: it drops them, as Root has changed.
func (p *Process) AwaitHeld(ctx context.Context, before Held, patience time.Duration) (Held, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := p.m.Touch(ctx, Root); err != nil {
			return Held{}, err
		}
		h, err := p.Held(ctx)
		if err != nil {
			return h, err
		}
		leaks := before.Leaks(h)
		if len(leaks) == 0 {
			h.Varied = before.Varied
			return h, nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return h, fmt.Errorf("%w: %s\nio_uring's threads:\n%s", ErrLeak, strings.Join(leaks, "; "), strings.Join(h.stacks, "\n"))
		}
	}
}

// ErrLeak is wrapped by the error about a daemon that does not free its resources.
var ErrLeak = errors.New("board: the idle daemon holds more resources than before")
