package files

import "uringhttpd/service/http1"

// A body is the content of a small file in memory. It stays in memory until no entry and no
// answer uses it.
type body struct {
	cache   *Cache
	bytes   []byte // constant
	entries int    // entries that have it
	leases  int    // of answers that are being sent
}

// size returns the length in bytes; 0 without a body.
func (b *body) size() int64 {
	if b == nil {
		return 0
	}
	return int64(len(b.bytes))
}

// lease returns a lease for an answer of an entry that has the body.
func (b *body) lease() http1.Lease {
	b.leases++
	return b
}

// Release implements http1.Lease.
func (b *body) Release() {
	switch b.leases--; {
	case b.leases < 0:
		panic("files: a body was released too often")
	case b.leases == 0 && b.entries == 0:
		b.cache.unowned -= b.size()
	}
}

// join notes that another entry has the body.
func (b *body) join() {
	if b.entries++; b.entries == 1 && b.leases > 0 { // its last entry was dropped since
		b.cache.unowned -= b.size()
	}
}

// leave notes that an entry has the body no longer.
func (b *body) leave() {
	if b.entries--; b.entries == 0 && b.leases > 0 {
		b.cache.unowned += b.size()
	}
}
