// Package service is the daemon: it accepts connections on one io_uring, takes
// them through TLS, HTTP and the transfer of files, and closes them so that a
// client has every byte or knows that it has not.
//
// One byte's way, and the file that has it:
//
//	accept     loop.go      the ring's thread takes the connection
//	handshake  conn.go      crypto/tls computes on a worker; then the kernel has the keys
//	request    request.go   the head is gathered, checked, parsed
//	handler    response.go  an http.Handler runs on a worker, and leaves segments (read.go)
//	transfer   transfer.go  memory is sent, files are spliced, gated by the meter (gate.go)
//	drain      closing.go   nothing is left in kernel TLS; close_notify; FIN
//	linger     closing.go   unread input is discarded until the client has it all
//	close      loop.go
//
// Beside that way: gate.go and pipes.go bound what the kernel holds, threads.go how many
// threads it uses, storage.go who waits for a disk that hangs, engine.go what a crypto engine that never answers costs, and alert.go
// tells of one that computes wrong records.
//
// A connection (conn.go) does no I/O on the ring itself: it takes an event and
// answers with the next operation, and the loop alone touches the ring. At any
// time a connection has one operation in flight, or one job on a worker, or
// none. So its code needs no locks, and runs in a test against a kernel that
// answers whatever the test wants.
//
// # Debugging
//
// With log.level debug every connection's end is logged with its reason. The
// access log's pending_max is the most that the connection ever had inside
// kernel TLS; above 192 KiB the gate in gate.go does not do its work. A warning that
// a client could not open a record (alert.go) is all that shows of a crypto engine
// that computes wrong ones; with tls.kernel: off it is not used.
package server
