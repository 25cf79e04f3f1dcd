package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// simClient is a client of a simulated world: its requests, its way of sending and
// receiving, and the result.
type simClient struct {
	w    *world
	sock *simSocket
	port uint16

	requests  []byte   // not sent yet
	methods   []string // of the requests
	due       int      // how many must be answered: none after a Connection: close
	early     bool     // the service was asked to stop before they were
	looked    int      // bytes of got that complete has seen
	sending   []byte   // sent, in the network
	slow      int      // per mille of moves at which it does nothing
	halfClose bool     // FIN once everything is sent
	hangUp    bool     // it closes as soon as it has all it asked for

	tls      *tls.Conn // nil: plain
	wire     *clientWire
	shook    bool // the handshake is done
	shaking  chan error
	answers  []*simAnswer // of the handler, for this client
	got      []byte       // plaintext
	raw      []byte       // as TCP brought it, not yet a whole TLS record
	notified bool         // close_notify came
	ended    bool         // the server's side has ended, in whatever way
	rst      bool
	finSent  bool
	stuck    bool // it sends and receives nothing any more
	dead     bool // it has reset the connection

	excuse string // why its responses need not arrive; "": all of them must
}

// simAnswer is a handler's response: pieces of memory and of the file.
type simAnswer struct {
	version byte
	parts   []simPage // file is set for parts of it
	head    bool
}

func (a *simAnswer) body() []byte {
	if a.head {
		return nil
	}
	var b []byte
	file := &simFile{version: a.version}
	for _, p := range a.parts {
		if p.file != nil {
			p.file = file
		}
		b = p.appendTo(b)
	}
	return b
}

func (c *simClient) excused(why string) {
	if c.excuse == "" {
		c.excuse = why
	}
}

// done reports whether the client does nothing more by itself. A client that does
// not close waits for the server to close.
func (c *simClient) done() bool {
	said := len(c.requests)+len(c.sending) == 0 && (c.tls == nil || c.shook)
	return c.ended || c.dead || c.stuck || (c.w.engine.dead || c.w.disk.hangs) && c.excuse != "" || said && (c.sock.inFIN || !c.halfClose && !c.hangUp)
}

// move performs some of the client's next actions.
func (c *simClient) move() {
	w, s := c.w, c.sock
	if c.dead || s.dead != 0 {
		return
	}
	if w.chance(1) && w.chance(60) || w.deadly && w.chance(3) {
		c.dead = true
		c.excused("the client is dead")
		s.reset([]unix.Errno{unix.ECONNRESET, unix.EPIPE, unix.ETIMEDOUT}[w.choice(3)])
		return
	}
	if w.chance(1) && w.chance(60) {
		c.stuck = true
		c.excused("the client is stuck")
	}
	if c.stuck || w.chance(c.slow) {
		return
	}
	c.sendMore()
	if len(c.sending) > 0 && !s.inFIN {
		n := w.upTo(len(c.sending))
		s.in = append(s.in, c.sending[:n]...)
		s.came += int64(n)
		c.sending = c.sending[n:]
		if s.closed { // the socket is closed: RST
			s.reset(unix.ECONNRESET)
			c.wasReset()
		}
	}
	if c.finSent && len(c.sending) == 0 {
		s.inFIN = true
		s.came++
	}
}

// speak sends more of the requests, or FIN.
func (c *simClient) sendMore() {
	w := c.w
	if c.finSent || c.tls != nil && !c.handshake() {
		return
	}
	if len(c.requests) > 0 {
		n := w.upTo(len(c.requests))
		text := c.requests[:n]
		c.requests = c.requests[n:]
		if c.tls == nil {
			c.sending = append(c.sending, text...)
			return
		}
		c.write(text)
		return
	}
	if c.halfClose || c.ended || c.hangUp && c.complete() {
		c.finSent = true
		if c.tls != nil && !w.chance(300) {
			c.tls.CloseWrite()
			c.takeOutput()
		}
	}
}

// complete reports whether the client has all its responses. It examines them once each
// time that nothing more is in the network.
func (c *simClient) complete() bool {
	if len(c.sock.queue) > 0 || len(c.got) == c.looked {
		return false
	}
	c.looked = len(c.got)
	whole, err := c.check()
	return err == nil && whole == len(c.methods)
}

func (c *simClient) write(text []byte) {
	if _, err := c.tls.Write(text); err != nil && c.excuse == "" {
		c.w.fault("client %d: write: %v", c.port, err)
	}
	c.takeOutput()
}

// takeOutput queues records of crypto/tls for sending; a hostile client corrupts them.
func (c *simClient) takeOutput() {
	out := c.wire.out
	c.wire.out = nil
	if len(out) > 0 && c.w.chance(5) {
		c.excused("the client spoils a record")
		out[c.w.choice(len(out))] ^= 1 << c.w.choice(8)
	}
	c.sending = append(c.sending, out...)
}

// handshake continues the handshake, and reports whether it is complete.
func (c *simClient) handshake() bool {
	if c.shook || c.ended {
		return c.shook
	}
	switch {
	case c.shaking == nil:
		c.shaking = make(chan error, 1)
		go func() { c.shaking <- c.tls.Handshake() }()
	case len(c.wire.in) == 0:
		return false
	default:
		c.wire.more <- struct{}{}
	}
	select {
	case <-c.wire.need:
	case err := <-c.shaking:
		c.shaking <- err
		if err != nil {
			c.fail(err)
			return false
		}
		c.shook, c.wire.fed = true, true
	}
	c.takeOutput()
	return c.shook
}

// fail ends a TLS connection because of an error of crypto/tls.
func (c *simClient) fail(err error) {
	c.ended = true
	var op *net.OpError
	if c.shook && errors.As(err, &op) && op.Op == "local error" { // for this there is no excuse
		c.w.fault("client %d refuses a record: %v", c.port, err)
	}
	if c.excuse == "" && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		c.w.fault("client %d: %v", c.port, err)
	}
}

// received handles bytes that TCP delivered; nil is the server's FIN.
func (c *simClient) received(b []byte) {
	if c.tls == nil {
		c.got = append(c.got, b...)
		c.ended = c.ended || b == nil
		return
	}
	c.raw = append(c.raw, b...)
	for len(c.raw) >= 5 { // never plaintext: all there is are records
		n := 5 + int(c.raw[3])<<8 + int(c.raw[4])
		if c.raw[0] < 20 || c.raw[0] > 23 || c.raw[1] != 3 || n > 5+maxPlain+256+22 {
			c.w.fault("client %d: not TLS: %q", c.port, c.raw[:min(len(c.raw), 40)])
			break
		}
		if len(c.raw) < n {
			break
		}
		c.raw = c.raw[n:]
	}
	c.wire.in = append(c.wire.in, b...)
	c.wire.eof = c.wire.eof || b == nil
	if !c.shook {
		if b == nil {
			c.ended = true
		}
		return
	}
	c.decrypt()
}

// decrypt reads the received records.
func (c *simClient) decrypt() {
	buf := make([]byte, maxPlain)
	for !c.ended {
		n, err := c.tls.Read(buf)
		c.got = append(c.got, buf[:n]...)
		var ne net.Error
		switch {
		case err == nil:
			continue
		case errors.As(err, &ne) && ne.Timeout():
			return
		case err == io.EOF:
			c.notified, c.ended = !c.wire.ended, true // crypto/tls returns EOF at a bare FIN, too
		default:
			c.fail(err)
		}
	}
}

func (c *simClient) wasReset() { c.rst, c.ended = true, true }

// settle ends the client when no more data moves: TCP has delivered all bytes that it can
// deliver.
func (c *simClient) settle() {
	if c.tls == nil {
		return
	}
	if !c.shook && c.shaking != nil { // its goroutine waits for more
		select {
		case err := <-c.shaking:
			c.shaking <- err
		default:
			close(c.wire.quit)
			<-c.shaking
		}
	} else if c.shook && c.wire.eof {
		c.decrypt()
	}
}

// verdict returns an error if the client's result is wrong.
func (c *simClient) verdict() error {
	whole, err := c.check()
	switch clean := c.clean(); {
	case err != nil:
		return fmt.Errorf("client %d: %w", c.port, err)
	case c.excuse == "" && !clean:
		return fmt.Errorf("client %d: the connection did not end in order, for no reason: FIN %v, close_notify %v, reset %v",
			c.port, c.sock.gotFIN, c.notified, c.rst)
	case c.excuse == "" && !c.early && whole < c.due:
		return fmt.Errorf("client %d: %d of %d requests were answered, for no reason", c.port, whole, c.due)
	case c.excuse == "" && whole < len(c.answers):
		return fmt.Errorf("client %d: %d of %d responses arrived, for no reason", c.port, whole, len(c.answers))
	}
	return nil
}

func (c *simClient) clean() bool {
	if c.tls != nil {
		return c.notified
	}
	return c.sock.gotFIN
}

// check reads the responses. A complete response, by its Content-Length, must equal the
// handler's, from one version of the file, and a clean end must follow a complete
// response. It returns the number of complete responses.
func (c *simClient) check() (whole int, err error) {
	in := bufio.NewReader(bytes.NewReader(c.got))
	for i := 0; ; i++ {
		if _, err := in.Peek(1); err != nil {
			return whole, nil
		}
		var req *http.Request
		if i < len(c.methods) {
			req = &http.Request{Method: c.methods[i]}
		}
		res, err := http.ReadResponse(in, req)
		if err != nil {
			if c.clean() {
				return whole, fmt.Errorf("a clean end within the head of response %d", i)
			}
			return whole, nil
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			if c.clean() {
				return whole, fmt.Errorf("a clean end after %d bytes of %d of response %d", len(body), res.ContentLength, i)
			}
			return whole, nil
		}
		number := res.Header.Get("Answer")
		if number == "" && res.Close {
			return whole, nil // refused before the handler, which ends the connection
		}
		if n, err := strconv.Atoi(number); err != nil || n != whole || n >= len(c.answers) {
			return whole, fmt.Errorf("response %d is answer %q, after %d", i, number, whole)
		}
		if want := c.answers[whole].body(); !bytes.Equal(body, want) {
			return whole, fmt.Errorf("response %d is whole, and wrong: %d bytes of %d, the first wrong one at %d",
				i, len(body), len(want), firstDiff(body, want))
		}
		whole++
	}
}

func firstDiff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// clientWire is the net.Conn under a client's tls.Conn. During the handshake either its
// goroutine or the world runs, as in ktls.
type clientWire struct {
	in, out          []byte
	eof, fed         bool
	ended            bool // crypto/tls has read the end
	need, more, quit chan struct{}
}

func (w *clientWire) Read(p []byte) (int, error) {
	for len(w.in) == 0 {
		switch {
		case w.eof:
			w.ended = true
			return 0, io.EOF
		case w.fed:
			return 0, clientWaits{}
		}
		select {
		case w.need <- struct{}{}:
		case <-w.quit:
			return 0, net.ErrClosed
		}
		select {
		case <-w.more:
		case <-w.quit:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *clientWire) Write(p []byte) (int, error) {
	w.out = append(w.out, p...)
	return len(p), nil
}

func (w *clientWire) SetDeadline(time.Time) error      { return nil }
func (w *clientWire) SetReadDeadline(time.Time) error  { return nil }
func (w *clientWire) SetWriteDeadline(time.Time) error { return nil }
func (w *clientWire) LocalAddr() net.Addr              { return nil }
func (w *clientWire) RemoteAddr() net.Addr             { return nil }
func (w *clientWire) Close() error                     { return nil }

// clientWaits is an error after which crypto/tls can continue later.
type clientWaits struct{}

func (clientWaits) Error() string   { return "more is to come" }
func (clientWaits) Timeout() bool   { return true }
func (clientWaits) Temporary() bool { return true }
