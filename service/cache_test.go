package service

import (
	"testing"

	"uringhttpd/config"
)

// TestCacheLimitsFitTheMachine: the cache takes a part of memory, and leaves file descriptors for all
// connections.
func TestCacheLimitsFitTheMachine(t *testing.T) {
	for _, tt := range []struct {
		name        string
		cache       int64
		connections int
		memory      int64
		descriptors uint64
		entries     int
		bytes       int64
	}{
		{"off", 0, 1024, 512 << 20, 1 << 16, 0, 0},
		{"board", config.CacheAuto, 1024, 512 << 20, 1 << 16, 1024, 8 << 20},
		{"small board", config.CacheAuto, 1024, 32 << 20, 1 << 16, 128, 1 << 20},
		{"server", config.CacheAuto, 1024, 64 << 30, 1 << 19, 8192, 64 << 20},
		{"configured", 1 << 30, 1024, 512 << 20, 1 << 16, 8192, 1 << 30},
		{"few descriptors", config.CacheAuto, 1024, 512 << 20, 4500, 562, 8 << 20},
		{"too few descriptors", config.CacheAuto, 1024, 512 << 20, 1024, 128, 8 << 20},
		{"hardly any descriptors", config.CacheAuto, 1024, 512 << 20, 64, 0, 0},
		{"hardly any memory", 64 << 10, 1024, 512 << 20, 1 << 16, 0, 0},
	} {
		l := cacheLimits(config.Limits{Cache: tt.cache, Connections: tt.connections}, tt.memory, tt.descriptors)
		if l.Entries != tt.entries || l.Bytes != tt.bytes {
			t.Errorf("%s: %+v, want %d entries, %d bytes", tt.name, l, tt.entries, tt.bytes)
		}
	}
}
