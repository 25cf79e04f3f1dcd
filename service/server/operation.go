package server

import (
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/http1"
	"uringhttpd/uring"
)

// opKind is the kind of an operation.
type opKind uint8

const (
	opRecv      opKind = iota // receive into buf
	opSend                    // send buf; more: further bytes follow at once
	opAlert                   // send msg
	opSpliceIn                // splice n bytes of file, from off, into pipe
	opSpliceOut               // splice n bytes of pipe into the socket
	opWritable                // wait until the socket is writable
	opWait                    // wait until the deadline
	opJob                     // run job on a worker; it does not wait
	opDisk                    // run job on a worker that may wait for storage
	opHandshake               // run job on a worker for handshakes
	opOffload                 // like opHandshake, for a job that may wait for the crypto engine
	opClose                   // close the socket; the connection's last operation
)

// An operation is the result of a connection's step, for the loop to perform.
type operation struct {
	kind     opKind
	buf      []byte
	msg      *uring.Message
	file     http1.File
	off      int64
	n        int
	more     bool
	idle     bool // for opRecv: no data is expected yet
	async    bool // on a thread of the kernel; set by the loop
	patient  bool // for opSpliceIn: wait for the semaphore; if false, the event is busy at once when none is free
	stuck    bool // for opWait: no record has left the crypto engine
	pipe     *pipe
	job      func()
	deadline time.Time // zero: none. After it has passed, the event is late
}

// An event is the end of an operation.
type event struct {
	n    int        // result
	err  unix.Errno // 0: success
	late bool       // the deadline passed before completion, and nothing was done
	busy bool       // not begun, because others hold the semaphore
	now  time.Time
}

// A socket is the connection's interface to its TCP socket besides the operations
// above: system calls that never wait.
type socket interface {
	Offload(*ktls.Session) error // installs kernel TLS; ErrUnsupported if the kernel refuses
	Sent(n int)                  // the kernel accepted n bytes
	Reading() (ktls.Reading, error)
	LimitUnsent(n int)               // bytes that TCP may hold but not send yet; 0: no limit
	Pipe() (*pipe, error)            // returns an empty pipe
	ResizePipe(p *pipe, n int) error // p must be empty; it keeps its size on error
	ClosePipe(*pipe)                 // also with bytes in it
	Received(p []byte) int           // reads the bytes available now into p
	Shutdown() error                 // sends FIN after the queued data; from now on, close does not reset
	Abort()                          // makes close reset again
	Err() error                      // why the kernel will not send more; nil: it will
	Push()                           // makes TCP send partial segments at once
	Empty() bool                     // reports whether nothing is inside kernel TLS, so that close does not wait
	HangUp()                         // sends no further data; the client can tell that data is missing
}
