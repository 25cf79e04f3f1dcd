package server

import "testing"

// TestThreadBudget: the uses of threads add up to no more than maxThreads.
func TestThreadBudget(t *testing.T) {
	for n := 1; n <= budgetProcessors; n++ {
		sum := 0
		for _, u := range threadBudget(n) {
			sum += u.n
		}
		if sum > maxThreads {
			t.Errorf("%d processors: %d threads, want at most %d", n, sum, maxThreads)
		}
	}
	if engineOps+maxFills >= unboundedWorkers {
		t.Errorf("a dead engine and hung storage keep all %d workers of io_uring", unboundedWorkers)
	}
}
