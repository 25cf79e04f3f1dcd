package files

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"uringhttpd/service/http1"
)

// lease returns an answer from memory.
func (k *cached) lease(target string) http1.Answer {
	k.t.Helper()
	a, ok := k.Answer(k.head("GET", target), k.now(), nil, false)
	if !ok || a.Memory == nil || a.Lease == nil {
		k.t.Fatalf("%s is not answered from memory: %v %+v", target, ok, a)
	}
	return a
}

// TestUnchangedBodyIsShared: when the life of a body has ended and the file is the same, the next
// entry has the same memory. A client that receives slowly holds no copy of its own.
func TestUnchangedBodyIsShared(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/a.txt")
	first := k.lease("/a.txt")
	k.offset.Add(int64(memoryLife))
	k.mustPrepare("/a.txt")
	second := k.lease("/a.txt")
	if unsafe.SliceData(first.Memory) != unsafe.SliceData(second.Memory) || len(k.entries) != 1 {
		t.Errorf("another copy of an unchanged file, with %d entries", len(k.entries))
	}
	second.Lease.Release()
	first.Lease.Release()
	if k.unowned != 0 {
		t.Errorf("%d bytes are still counted", k.unowned)
	}
}

// TestLeasedBodiesAreBounded: while slow clients hold much memory of entries that were dropped, files
// are kept open only. The memory counts until the clients have ended.
func TestLeasedBodiesAreBounded(t *testing.T) {
	k := newCached(t, flatTree(t, 1, 1000), CacheLimits{Entries: 10, Bytes: 6000, Body: 1000})
	name := filepath.Join(k.dir, "0")
	var leases []http1.Lease
	for version := range 4 { // the last exceeds half of the limit
		k.mustPrepare("/0")
		a := k.lease("/0")
		if want := bytes.Repeat([]byte{byte(version)}, 1000); !bytes.Equal(a.Memory, want) {
			t.Fatalf("version %d: %q", version, a.Memory)
		}
		leases = append(leases, a.Lease)
		must(t, os.WriteFile(name, bytes.Repeat([]byte{byte(version + 1)}, 1000), 0o644))
		must(t, os.Chtimes(name, time.Time{}, time.Unix(1_700_000_000+int64(version), 0)))
		k.Update()
		if k.answers("/0") {
			t.Fatal("the old answer")
		}
	}
	if k.unowned != 4000 {
		t.Errorf("%d bytes are counted as held by clients, want 4000", k.unowned)
	}
	k.mustPrepare("/0")
	a, ok := k.Answer(k.head("GET", "/0"), k.now(), nil, false)
	if !ok || a.File == nil || a.Memory != nil {
		t.Fatalf("another body in memory while clients hold 4000 bytes of dropped ones: %v %+v", ok, a)
	}
	a.File.Release()
	for _, l := range leases {
		l.Release()
	}
	if k.unowned != 0 {
		t.Errorf("%d bytes are counted without a client", k.unowned)
	}
	k.offset.Add(int64(memoryLife))
	k.mustPrepare("/0")
	k.lease("/0").Lease.Release()
}

// TestExpiredBodyChanges: a file whose bytes have changed without its timestamps, as by a shared
// mapping, is answered with the new bytes after the life of the old.
func TestExpiredBodyChanges(t *testing.T) {
	k := newCached(t, cacheTree(t), someLimits)
	k.mustPrepare("/a.txt")
	changed := strings.ToUpper(alphabet)
	copy(k.entries["/a.txt"].body.bytes, changed) // as if read before the file's bytes became these
	k.offset.Add(int64(memoryLife))
	k.mustPrepare("/a.txt")
	a := k.lease("/a.txt")
	defer a.Lease.Release()
	if string(a.Memory) != alphabet {
		t.Errorf("%q after the life of the body", a.Memory)
	}
}
