package server

import (
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/http1"
	"uringhttpd/uring"
)

// opKind is one thing that a connection asks the loop for.
type opKind uint8

const (
	opRecv      opKind = iota // into buf
	opSend                    // buf; more: something follows at once
	opNotify                  // msg
	opSpliceIn                // n bytes of file at off into pipe
	opSpliceOut               // n bytes of pipe into the socket
	opRoom                    // until the socket takes bytes again
	opWait                    // until the deadline
	opJob                     // job, on a worker; it does not wait
	opDisk                    // job, on a worker that may wait for a disk
	opHandshake               // job, on a worker for handshakes
	opOffload                 // the same, of a job that may wait for the crypto engine
	opClose                   // of the socket; the connection's last
)

// An operation is what a connection's step answers.
type operation struct {
	kind     opKind
	buf      []byte
	msg      *uring.Message
	file     http1.File
	off      int64
	n        int
	more     bool
	async    bool // on a thread of the kernel's; the loop decides
	patient  bool // of opSpliceIn: it waits for its turn; else its event is busy if there is none
	stuck    bool // of opWait: nothing has come of the crypto engine
	pipe     *pipe
	job      func()
	deadline time.Time // zero: none. When it passes, the event is late
}

// An event is the end of an operation.
type event struct {
	n    int        // its result
	err  unix.Errno // 0 if it succeeded
	late bool       // its deadline passed before it completed, and nothing was done
	busy bool       // it has not begun, since others have all turns
	now  time.Time
}

// A socket is what a connection asks of its TCP socket besides the operations
// above: system calls that do not wait for anything.
type socket interface {
	Offload(*ktls.Session) error // to kernel TLS, ErrUnsupported where the kernel refuses
	Sent(n int)                  // the kernel accepted n bytes
	Reading() (ktls.Reading, error)
	LimitUnsent(n int)               // bytes that TCP may hold and could not send yet; 0: any
	Pipe() (*pipe, error)            // an empty one
	ResizePipe(p *pipe, n int) error // p is empty, and stays as it is if this fails
	ClosePipe(*pipe)                 // with whatever it holds
	Received(p []byte) int           // what of the client's is there now goes into p
	Shutdown() error                 // FIN after what is queued; from here on, close no longer resets
	Abort()                          // close resets again
	Err() error                      // why the kernel will send no more; nil: it will
	Push()                           // TCP sends at once what it keeps until a segment is full
	Empty() bool                     // nothing is inside kernel TLS, so close does not wait
	HangUp()                         // the client gets no more, and can tell
}
