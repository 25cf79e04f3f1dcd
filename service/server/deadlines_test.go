package server

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestDeadlinesExpireInOrder: slots expire in the order of their deadlines, also after deadlines
// were changed or removed, and none before its time.
func TestDeadlinesExpireInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(1e9, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var d deadlines
	if got := d.next(start); got >= 0 {
		t.Errorf("without deadlines: %v until the next, want a negative value", got)
	}
	slots := make([]*slot, 100)
	for i := range slots {
		slots[i] = &slot{heapIndex: -1}
	}
	want := map[*slot]int{}
	for range 1000 {
		s := slots[r.IntN(len(slots))]
		if r.IntN(4) == 0 {
			d.set(s, time.Time{})
			delete(want, s)
			continue
		}
		want[s] = 1 + r.IntN(1000)
		d.set(s, at(want[s]))
	}
	for _, s := range slots {
		if _, ok := want[s]; ok != (s.heapIndex >= 0) {
			t.Fatalf("heap index %d, with a deadline: %v", s.heapIndex, ok)
		}
	}
	var got []int
	for ms := 0; ms <= 1000; ms++ {
		if wait := d.next(at(ms)); len(want) > len(got) && wait < 0 {
			t.Fatalf("after %d ms: %v until the next deadline", ms, wait)
		}
		for s := d.expired(at(ms)); s != nil; s = d.expired(at(ms)) {
			if want[s] != ms || s.heapIndex != -1 {
				t.Fatalf("expired after %d ms, want %d; heap index %d", ms, want[s], s.heapIndex)
			}
			got = append(got, ms)
		}
	}
	if len(got) != len(want) || !slices.IsSorted(got) {
		t.Errorf("%d slots expired, want %d", len(got), len(want))
	}
}
