package server

import (
	"fmt"
	"time"
)

// A continuation is the step that follows a transfer, or a wait for kernel TLS to become empty.
type continuation uint8

const (
	thenReadHandshake continuation = iota // receive more of the handshake
	thenFailHandshake                     // log the error of the handshake, and close: its alert is sent
	thenOffload                           // install the keys in the kernel
	thenReadRequest                       // receive more of a request
	thenEndResponse                       // log the response, and serve the next request or close
	thenAlert                             // send the final alert
	thenShutdown                          // send FIN
)

func (t continuation) String() string {
	return [...]string{"read handshake", "fail handshake", "offload", "read request", "end response", "alert", "shutdown"}[t]
}

// proceed performs the step that was stored when the transfer, or the wait, began.
func (c *conn) proceed(now time.Time) operation {
	switch c.then {
	case thenReadHandshake:
		return c.receiveHandshake(now)
	case thenFailHandshake:
		c.handshakeFailed(c.jobErr)
		return c.shutdown(now)
	case thenOffload:
		return c.offloadSession(now)
	case thenReadRequest:
		return c.receiveRequest(now)
	case thenEndResponse:
		return c.responseSent(now)
	case thenAlert:
		return c.sendAlert()
	case thenShutdown:
		return c.shutdown(now)
	}
	panic(fmt.Sprintf("server: no step follows %d", c.then))
}
