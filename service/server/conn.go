package server

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/offload"
	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

// state is the event that a connection waits for. The order is that of a connection's life.
type state uint8

const (
	stHandshakeInput state = iota // input of the TLS handshake
	stHandshakeWork               // a worker computing the handshake
	stOffload                     // a worker installing the keys in the kernel
	stRequest                     // the rest of a request's head
	stHandler                     // a worker running the handler
	stPostponed                   // a delay before the handler runs again
	stTransfer                    // a step of the response; see transfer.go
	stDrain                       // kernel TLS to become empty, before and after the final alert
	stAlert                       // the final alert to be accepted by the socket
	stAlertWritable               // room in the socket for the final alert
	stLinger                      // acknowledgement of all data
	stClosed                      // the descriptor to be closed
)

func (s state) String() string {
	return [...]string{"handshake input", "handshake", "offload", "request", "handler", "postponed", "transfer", "drain", "alert", "writable for alert", "linger", "closed"}[s]
}

// transport is the way in which bytes are sent. All transports use the same states.
type transport uint8

const (
	plain   transport = iota // TCP
	kernel                   // plaintext to the kernel, which encrypts it into TLS records
	user                     // TLS records made in user space
	unknown                  // TLS before the handshake is complete: only handshake records may be sent
)

func (t transport) String() string {
	return [...]string{"plain", "kernel TLS", "user-space TLS", "handshake"}[t]
}

// A conn is a connection. At any time it is owned by the loop, or by a worker between the start
// of a job and its event. Fields without further comment belong to the current owner.
type conn struct {
	// Constant.
	gen     *generation
	proc    *process
	loop    *loopState // for the loop's thread only
	client  endpoint
	sock    socket
	session *ktls.Session // nil on a plain connection

	// Only the loop uses these.
	state      state
	then       continuation // follows the transfer, or the drain
	yields     bool         // the connection ends in favor of another client
	clientLeft bool         // the client has ended the connection, or announced it

	transport    transport
	tls          *tls.ConnectionState // once the handshake is complete; for handlers
	place        place                // location of the client; determined for plain connections only
	driver       offload.Driver       // for kernel TLS
	async        bool                 // a send may wait for driver
	tcpBytes     int64                // bytes passed to TCP for sending, at the last reading; 0 before the first
	notSentLimit int                  // current TCP_NOTSENT_LOWAT

	// Results of a job, for the step after it.
	jobErr        error
	handshakeDone bool
	offloading    atomic.Bool // the job has begun to install the keys; the loop reads this during the job

	input    input
	exchange exchange
	transfer transfer
	flow     flow.Control
	wait     waiting
	alerts   alerts
	closing  closing
}

// input is the receive side.
type input struct {
	buf      []byte    // received, decrypted, and not consumed
	scanned  int       // leading bytes of buf that do not contain the end of a head
	wire     []byte    // buffer for received data before decryption
	since    time.Time // start of the wait for the handshake, or for a request
	headAt   time.Time // when the first byte of the head was received; zero before that
	requests int       // requests answered
	received int64     // bytes read from the socket; a FIN counts as one
}

// exchange is a request and its response: either that of a handler, or an answer from the cache.
type exchange struct {
	request   *http.Request // nil if it could not be parsed, and for an answer from the cache
	bodiless  bool          // the method is HEAD; known even if parsing failed
	response  *http1.Response
	started   time.Time
	postponed int  // number of times the handler was postponed
	close     bool // the connection ends after this response
	cached    cachedExchange
}

// responding reports whether a response has begun and not ended.
func (x *exchange) responding() bool { return x.response != nil || x.cached.active }

// alerts is the state of reading the client's alerts during a response; see alert.go.
type alerts struct {
	bytes int  // bytes read to find alerts
	done  bool // reading has ended
}

// closing is the state of an orderly close; see conn_close.go.
type closing struct {
	alert  ktls.Message // final alert, the last record before FIN; kernel TLS only
	linger lingering
}

// newConn returns a connection for a socket that the loop accepted.
func newConn(env environment, sock socket, from endpoint, session *ktls.Session) *conn {
	c := &conn{gen: env.gen, proc: env.proc, loop: env.loop, client: from, sock: sock, session: session}
	c.flow, c.notSentLimit = flow.New(env.gen.buffer, env.loop.share), flow.MinUnsent
	if session != nil {
		c.transport = unknown
	}
	return c
}

// start performs the connection's first step.
func (c *conn) start(now time.Time) operation {
	c.input.since, c.wait.progressed = now, now
	if c.session != nil {
		return c.receiveHandshake(now)
	}
	return c.nextRequest(now)
}

// step handles the end of the operation that the previous step returned.
func (c *conn) step(ev event) operation {
	switch c.state {
	case stHandshakeInput:
		return c.handshakeInput(ev)
	case stHandshakeWork:
		return c.handshakeComputed(ev.now)
	case stOffload:
		return c.offloaded(c.jobErr, ev.now)
	case stRequest:
		return c.requestInput(ev)
	case stHandler:
		return c.handlerDone(ev)
	case stPostponed:
		c.state = stHandler
		return operation{kind: opJob, job: func() { c.jobErr = c.answer(false) }}
	case stTransfer:
		return c.transferred(ev)
	case stDrain:
		return c.drain(ev.now, c.then)
	case stAlert:
		return c.alertSent(ev)
	case stAlertWritable:
		return c.alertWritable(ev)
	case stLinger:
		return c.lingerInput(ev)
	}
	panic(fmt.Sprintf("server: event in state %v", c.state))
}

// idle reports whether the connection waits for another request and has received none of it.
func (c *conn) idle() bool {
	return c.state == stRequest && c.input.requests > 0 && c.input.headAt.IsZero()
}

// arrived reports whether the client has acknowledged everything, so that the connection only
// waits for it to close.
func (c *conn) arrived() bool { return c.state == stLinger && !c.closing.linger.until.IsZero() }
