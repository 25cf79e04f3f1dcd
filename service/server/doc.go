// Package server is the loop and its connections: it accepts connections on one io_uring,
// runs TLS, HTTP and the transfer of files on them, and closes them so that a client has
// every byte or can tell that it has not.
//
// The life of a request, and the files that implement it (http1 is a package of its own):
//
//	accept     accept.go          the ring's thread accepts the connection
//	handshake  handshake.go       crypto/tls computes on a worker; then the kernel gets the keys
//	request    http1/request.go   the head is received, checked and parsed
//	cache      cached.go          a prepared answer goes to the transfer at once
//	handler    http1/response.go  an http.Handler runs on a worker, and records segments (read.go)
//	transfer   transfer.go        memory is sent and files are spliced, as the meter allows (gate.go)
//	drain      conn_close.go      kernel TLS becomes empty; close_notify; FIN
//	linger     conn_close.go      input is discarded until the client has acknowledged everything
//	close      loop.go
//
// Further files: gate.go (with package flow) and pipes.go limit the bytes that the kernel holds,
// threads.go the number of threads, storage.go and semaphore.go the operations that wait for
// hanging storage, and engine.go the damage by a crypto engine that stops answering. drivers.go
// tests the drivers that are registered while the service runs, and alert.go reports an engine
// that computes wrong records. owner.go names the owner of a connection, continuation.go the step
// after a transfer, and loop_stop.go ends the loop.
//
// A connection (conn.go) does no I/O on the ring itself: it receives an event and
// returns the next operation, and only the loop uses the ring. At any time a connection has
// one operation in flight, or one job on a worker, or neither. So its code needs no locks,
// and can be tested against a simulated kernel that returns any result.
//
// # Debugging
//
// With log.level debug the end of every connection is logged with its cause and reason. The
// access log's pending_max is the maximum of the connection's bytes inside kernel TLS; above
// 192 KiB the gate in gate.go does not work. A warning that a client reported bad_record_mac
// (alert.go) is the only sign of a crypto engine that computes wrong records; with tls.kernel: off
// the engine is not used. TestSimulation prints the owner, state, phase and continuation of the
// connections that do not end.
package server
