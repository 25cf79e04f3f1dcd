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

// Held is what a daemon holds, in the kernel too. Two of them, before and after
// some load, show what leaked.
type Held struct {
	FDs     map[string]int // descriptors by kind: socket, pipe, anon_inode, file
	Workers int            // threads of io_uring
	Threads int            // all others
	Locked  int64          // bytes
	Slab    map[string]int // objects in use, by cache
	// Varied says that loads of many kinds come after this base line: each kind of
	// operation leaves the ring objects of its own to use again.
	Varied bool

	stacks []string // of io_uring's threads
}

const (
	// idleWorkers stay when io_uring has nothing to do: of the bounded and of the
	// unbounded ones, each, one never ends (io_uring/io-wq.c).
	idleWorkers = 2
	// threadMargin is how many threads Go may have added by chance. It never ends one.
	threadMargin = 4
	// slabMargin is less than the load's downloads, each of which would leave an
	// object, and not less than one slab of the smallest objects counted: all of it
	// counts as in use while a processor allocates from it. Growth seen without a
	// leak was 0 in the caches of sockets, files and buffers; 21 in kmalloc-192 and
	// 32 in kmalloc-128, which is one slab each.
	slabMargin = 32
	// napiCache is how many heads of buffers a processor keeps at most, those of
	// what TCP has received among them (napi_skb_cache_put in net/core/skbuff.c). No
	// shrinking gives them back; 33 more were seen after some hundred downloads.
	napiCache = 64
	// ringCache is how many objects of a kind a ring keeps (IO_ALLOC_CACHE_MAX in
	// io_uring/alloc_cache.h; before Linux 6.10 512, and no more than there were
	// operations at a time). 37 more in kmalloc-512 were seen after a thousand downloads.
	ringCache = 128
)

// slabs are the caches that a leak of a connection, a transfer or an operation
// would show in. Contexts of kernel TLS and pipes are in kmalloc caches.
var slabs = []string{
	"TCP", "TCPv6", "request_sock_TCP", "request_sock_TCPv6", "sock_inode_cache", "filp", "inode_cache",
	"skbuff_head_cache", "skbuff_fclone_cache", "skbuff_small_head", "io_kiocb", "task_struct",
}

// isSlab leaves the small kmalloc caches out: everything uses them, kmalloc-96 came
// and went by 126, and nothing of a connection is as small.
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

// Held counts what the daemon holds now.
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

// slab counts the objects in use. A cache counts what processors keep ready as in
// use, unless it is made to give that back first.
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

// Leaks says what there is more of after than in h; nothing if all is well. A base
// line without Slab is one from before caches were warm: threads do not count either.
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

// AwaitHeld waits until nothing has leaked since before, and returns what is held
// then; an error that wraps ErrLeak if patience runs out. Connections end some time
// after their clients, idle workers after seconds, and nothing says when.
func (p *Process) AwaitHeld(ctx context.Context, before Held, patience time.Duration) (Held, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
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

// ErrLeak is what a daemon that does not give back is reported with.
var ErrLeak = errors.New("board: the daemon is idle and holds more than before")
