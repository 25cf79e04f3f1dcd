package http1

import "time"

// A Cache holds prepared answers, so that most requests need neither a handler nor a worker. All
// methods are for one goroutine, which must not wait: none of them but Close waits for storage or
// takes long, and neither does Prepare, but its job does.
type Cache interface {
	// Update applies the changes that the kernel has reported, and drops the answers that they
	// concern. Call it before the first Answer to a request that was received later than the last
	// call.
	Update()

	// FD returns a descriptor that is readable when Update has changes to apply.
	FD() int

	// Answer returns the answer to h, and appends its head to room. It allocates nothing if room
	// suffices. ok is false if there is no valid answer; then a handler must answer. ends is true
	// if the connection ends after the response.
	Answer(h *Head, now time.Time, room []byte, ends bool) (a Answer, ok bool)

	// Prepare returns a job that prepares the answers to requests for a decoded path, for a
	// goroutine that may wait for storage, or nil. After the job has returned, call Update. Only
	// one job is returned at a time: until the Update that follows, Prepare returns nil. A job
	// that is not called is the last one. Call Prepare after a handler has answered such a
	// request with a file: a job for a path without one is a waste.
	Prepare(path string) (job func())

	// Dropped appends the files of dropped answers to files. The caller has to release each, where
	// it may wait for storage: a file may have been deleted although its Deleted does not report
	// it yet. Call it after Update and after an Answer that is not ok.
	Dropped(files []File) []File

	// Close drops all answers, and closes their files. It may wait.
	Close()
}

// A Lease is the right to use the memory of an Answer. The cache counts the memory until all leases
// have been released.
type Lease interface {
	// Release ends the lease. Call it once, where the cache's methods are called.
	Release()
}

// An Answer is a response that a Cache has prepared. Its body, which is empty if the method is HEAD
// or Status is 304, is either Memory, which must not be changed, or a part of File.
type Answer struct {
	Path   string // of the request, decoded
	Status int
	Head   []byte // from the status line to the empty line
	Memory []byte
	Lease  Lease // of Memory; nil if there is none
	File   File  // nil if the body is in Memory; the caller has to release it
	Off, N int64 // part of File, in bytes
	Length int64 // bytes of the body; for HEAD, of the body of a GET
}
