package server

import (
	"container/heap"
	"time"
)

// deadlines is a heap of waiting slots, ordered by deadline.
type deadlines []*slot

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heapIndex, d[j].heapIndex = i, j
}

func (d *deadlines) Push(x any) {
	s := x.(*slot)
	s.heapIndex = len(*d)
	*d = append(*d, s)
}

func (d *deadlines) Pop() any {
	old := *d
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	s.heapIndex = -1
	return s
}

// set sets the deadline of s; zero: none.
func (d *deadlines) set(s *slot, at time.Time) {
	s.deadline = at
	switch {
	case at.IsZero() && s.heapIndex >= 0:
		heap.Remove(d, s.heapIndex)
	case at.IsZero():
	case s.heapIndex >= 0:
		heap.Fix(d, s.heapIndex)
	default:
		heap.Push(d, s)
	}
}

// expired removes and returns a slot whose deadline is not after now, or returns nil.
func (d *deadlines) expired(now time.Time) *slot {
	if len(*d) == 0 || (*d)[0].deadline.After(now) {
		return nil
	}
	return heap.Pop(d).(*slot)
}

// next returns the time until the first deadline; negative: none.
func (d deadlines) next(now time.Time) time.Duration {
	if len(d) == 0 {
		return -1
	}
	return max(d[0].deadline.Sub(now), 0)
}
