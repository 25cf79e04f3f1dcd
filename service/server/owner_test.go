package server

import "testing"

// TestOwnerTransitions: a connection goes from one owner to another by way of the loop, except out
// of a queue and when the engine orphans it. Any other change panics.
func TestOwnerTransitions(t *testing.T) {
	const owners = ownerOrphan + 1
	direct := map[[2]owner]bool{
		{ownerFillQueue, ownerFill}:            true,
		{ownerEngineQueue, ownerEngine}:        true,
		{ownerEngineQueue, ownerCloser}:        true,
		{ownerEngine, ownerOrphanInRing}:       true,
		{ownerHandshaker, ownerOrphanOnWorker}: true,
		{ownerCloser, ownerOrphanOnWorker}:     true,
	}
	for from := range owners {
		for to := range owners {
			want := direct[[2]owner{from, to}]
			if from == ownerNone {
				want = to != ownerNone && to != ownerOrphanInRing && to != ownerOrphanOnWorker
			} else if to == ownerNone {
				want = true
			}
			if got := from.mayPrecede(to); got != want {
				t.Errorf("from %q to %q: allowed %v, want %v", from, to, got, want)
			}
			l := newShareLoop(0, 0)
			l.live = 1
			func() {
				defer func() {
					if panicked := recover() != nil; panicked == want {
						t.Errorf("from %q to %q: panic %v", from, to, panicked)
					}
				}()
				l.setOwner(&slot{owner: from}, to)
			}()
		}
	}
}

// TestOwnerCounts: an orphaned connection is not live, and is live again when it is reclaimed.
func TestOwnerCounts(t *testing.T) {
	l := newShareLoop(100, 0)
	l.countLive(2)
	s := &slot{}
	l.setOwner(s, ownerEngine)
	if l.setOwner(s, ownerOrphanInRing); l.live != 1 || l.engine.orphaned != 1 || l.shared.share != 100 {
		t.Errorf("orphaned: %d live, %d lost, share %d; want 1, 1, 100", l.live, l.engine.orphaned, l.shared.share)
	}
	if l.setOwner(s, ownerNone); l.live != 2 || l.engine.orphaned != 0 || l.shared.share != 50 {
		t.Errorf("reclaimed: %d live, %d lost, share %d; want 2, 0, 50", l.live, l.engine.orphaned, l.shared.share)
	}
}
