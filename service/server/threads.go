package server

import "runtime"

// Threads. The whole program has at most maxThreads on a board with up to budgetProcessors
// processors; Go's runtime may add one for each further processor.
const (
	maxThreads       = 32
	budgetProcessors = 4
)

const (
	// boundedWorkers is the limit of io_uring's workers for regular files, which are unused;
	// 0 would keep the kernel's limit.
	boundedWorkers = 1
	// unboundedWorkers is the limit of io_uring's other workers: all splices, and sends that wait
	// for an asynchronous driver.
	unboundedWorkers = 10
	// engineOps is how many operations may wait for an asynchronous driver at a time, and how
	// many sockets with records in it may be closed at a time.
	engineOps = 4
	// diskOps is how many jobs may wait for storage at a time. One of them may be a job without a
	// client, which prepares an answer for the cache.
	diskOps = 4
	// maxFills is how many of io_uring's workers may read files. Hanging storage blocks them,
	// and a dead engine blocks engineOps; the other workers serve operations that need neither.
	maxFills = 4
	// backgroundOps is how many other jobs without a client may run at a time. There are none yet.
	backgroundOps = 0
	// releaseOps release files, one at a time.
	releaseOps = 1
)

// cachedWorkers returns the number of workers for jobs that do not wait for storage: handlers of
// cached files, and encryption in user space.
func cachedWorkers(processors int) int { return max(4, processors) }

// handshakeWorkers returns the number of workers for handshakes: half of the processors. On a
// board's only one they share it with the loop, which sleeps most of the time.
func handshakeWorkers(processors int) int { return max(1, processors/2) }

// processors returns the number of processors that Go uses.
func processors() int { return runtime.GOMAXPROCS(0) }

// A threadUse is an entry of the budget.
type threadUse struct {
	use string
	n   int
}

// threadBudget returns all threads that the program may have.
func threadBudget(processors int) []threadUse {
	return []threadUse{
		{"io_uring's workers", unboundedWorkers},
		{"closes that wait for an asynchronous driver", engineOps},
		{"jobs that wait for storage", diskOps},
		{"jobs without a client", backgroundOps},
		{"release of files", releaseOps},
		// These compute, on Go's threads for the processors, or wait in short system calls, for
		// which Go starts another thread.
		{"Go's threads for the processors", processors},
		{"jobs in short system calls", cachedWorkers(processors)},
		{"the loop, the log, signals, and two of Go's runtime", 5},
	}
}
