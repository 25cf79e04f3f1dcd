package service

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

var (
	simSeeds = flag.Int("sim.seeds", 1000, "how many seeds TestSimulation runs")
	simFirst = flag.Uint64("sim.first", 1, "the first of them")
)

// simFile is a file that may change. Its bytes tell its version and offset, so
// that a mixture of versions shows.
type simFile struct {
	version byte
	size    int64
	opened  byte // the version that the response was made from
	refs    int
}

func (f *simFile) at(off int64) byte { return byte(off)*3 ^ byte(off>>8) ^ f.version*0x55 }

func (f *simFile) ReadAt(p []byte, off int64) (int, error) { panic("the ring reads, not the handler") }
func (f *simFile) Fd() int                                 { return -1 }
func (f *simFile) Name() string                            { return "sim" }
func (f *simFile) Acquire()                                { f.refs++ }
func (f *simFile) Release()                                { f.refs-- }

func (f *simFile) Unchanged() error {
	if f.version != f.opened {
		return errors.New("sim changed")
	}
	return nil
}

// simPage is what the kernel holds of a send: bytes of its own, or a part of the
// page cache, which changes with the file until it is copied.
type simPage struct {
	own  []byte
	file *simFile
	off  int64
	n    int
}

func (p simPage) bytes() []byte {
	if p.file == nil {
		return p.own
	}
	b := make([]byte, p.n)
	for i := range b {
		b[i] = p.file.at(p.off + int64(i))
	}
	return b
}

// simRecord is a record inside kernel TLS.
type simRecord struct {
	data  []byte
	alert bool
}

// simKernel is one connection's kernel and client, as a seed wants them: every
// answer that the real one may give, at any time.
type simKernel struct {
	t    *testing.T
	r    *rand.Rand
	conn *conn
	now  time.Time
	tls  bool

	// The client.
	say     []byte // what it will send
	closing bool   // it half-closes when all is said
	dead    bool   // it has reset the connection
	stuck   bool   // it takes nothing any more
	got     []byte // plaintext that it has
	notify  bool   // close_notify came
	fin     bool   // FIN came
	rst     bool   // RST came before that

	// The sending side.
	open      []byte      // plaintext of a record that waits for more
	pending   []simRecord // made, not given to TCP
	queue     []simPage   // given to TCP, not acknowledged
	alerts    int         // of the queue's last bytes: close_notify is among them
	finQueued bool
	room      int // of TCP's buffer
	sent      int64
	acked     int64
	shut      bool // SHUT_WR
	linger    bool // close resets

	pipes map[*pipe][]simPage
	file  *simFile

	excuse string // why a response need not arrive; "": all of them must
}

func (k *simKernel) chance(percent int) bool { return k.r.IntN(100) < percent }

func (k *simKernel) queued() (n int) {
	for _, p := range k.queue {
		n += p.n
	}
	return n
}

func (k *simKernel) pendingBytes() (n int) {
	for _, r := range k.pending {
		n += len(r.data)
	}
	return n + len(k.open)
}

// The socket's interface.

func (k *simKernel) Offload(*ktls.Session) error { return errors.ErrUnsupported }
func (k *simKernel) Sent(n int)                  { k.sent += int64(n) }
func (k *simKernel) Abort()                      { k.linger = true }

func (k *simKernel) Reading() (ktls.Reading, error) {
	if k.dead {
		return ktls.Reading{}, unix.ECONNRESET
	}
	r := ktls.Reading{Pending: int64(k.pendingBytes()), Unacked: int64(k.queued()), Acked: k.acked}
	if k.finQueued {
		r.Unacked++
	}
	if k.tls && k.chance(10) {
		r.Pending += int64(k.r.IntN(5000)) // between its calls something was acknowledged
	}
	return r, nil
}

func (k *simKernel) Pipe() (*pipe, error) {
	if k.chance(5) {
		return nil, unix.EMFILE
	}
	p := &pipe{-1, -1}
	k.pipes[p] = nil
	return p, nil
}

func (k *simKernel) ClosePipe(p *pipe) {
	if _, ok := k.pipes[p]; !ok {
		k.t.Error("a pipe is closed twice")
	}
	delete(k.pipes, p)
}

func (k *simKernel) Shutdown() error {
	if k.dead {
		return unix.ENOTCONN
	}
	k.shut, k.finQueued, k.linger = true, true, false
	k.pending, k.open = nil, nil // what is inside kernel TLS is lost
	return nil
}

// move lets the engine, TCP and the client go on a little.
func (k *simKernel) move() {
	if k.file.refs > 0 && k.chance(1) && k.r.IntN(20) == 0 {
		k.file.version++ // overwritten
		k.excuse = "the file has changed"
		if k.chance(30) {
			k.file.size /= 2
		}
	}
	if k.chance(1) && k.r.IntN(30) == 0 {
		k.dead, k.excuse = true, "the client is dead"
	}
	if k.chance(1) && k.r.IntN(30) == 0 {
		k.stuck, k.excuse = true, "the client is stuck"
	}
	for len(k.pending) > 0 && k.chance(60) && k.queued() < k.room {
		r := k.pending[0]
		k.pending = k.pending[1:]
		if r.alert {
			k.alerts++
			k.queue = append(k.queue, simPage{})
			k.notifyAt()
			continue
		}
		k.queue = append(k.queue, simPage{own: r.data, n: len(r.data)})
	}
	for !k.stuck && !k.dead && k.chance(60) && (len(k.queue) > 0 || k.finQueued) {
		k.deliver()
	}
}

// notifyAt marks the queue's last page as the alert.
func (k *simKernel) notifyAt() {
	k.queue[len(k.queue)-1].own = []byte("close_notify")
	k.queue[len(k.queue)-1].n = 2
}

// deliver has the client take one page, or the FIN behind the last.
func (k *simKernel) deliver() {
	if len(k.queue) == 0 {
		k.finQueued, k.fin = false, true
		return
	}
	p := k.queue[0]
	k.queue = k.queue[1:]
	k.acked += int64(p.n)
	if string(p.own) == "close_notify" && p.n == 2 {
		k.notify = true
		return
	}
	k.got = append(k.got, p.bytes()...)
}

// accept takes bytes of a send or splice into the sending side.
func (k *simKernel) accept(pages []simPage, more bool) {
	if !k.tls {
		k.queue = append(k.queue, pages...)
		return
	}
	for _, p := range pages {
		k.open = append(k.open, p.bytes()...) // encrypted: copied
	}
	for len(k.open) >= 16<<10 || len(k.open) > 0 && !more {
		n := min(len(k.open), 16<<10)
		k.pending = append(k.pending, simRecord{data: bytes.Clone(k.open[:n])})
		k.open = k.open[n:]
	}
}

// full tells whether the socket answers EAGAIN. With an asynchronous cipher it
// does not care for what is pending.
func (k *simKernel) full() bool { return k.queued() >= k.room }

// perform answers an operation that is not a wait.
func (k *simKernel) perform(op operation) event {
	ev := event{now: k.now}
	fail := func(e unix.Errno) event { ev.err = e; return ev }
	if k.chance(3) && op.kind != opClose && op.kind != opJob && op.kind != opRecv {
		return fail(unix.EINTR)
	}
	switch op.kind {
	case opJob:
		op.job()
	case opSend, opSpliceOut:
		switch {
		case k.dead:
			return fail(unix.EPIPE)
		case k.full() || k.chance(10):
			return fail(unix.EAGAIN)
		}
		if op.kind == opSend {
			ev.n = len(op.buf)
			if k.chance(30) {
				ev.n = 1 + k.r.IntN(ev.n)
			}
			k.accept([]simPage{{own: bytes.Clone(op.buf[:ev.n]), n: ev.n}}, op.more || ev.n < len(op.buf))
			return ev
		}
		held := k.pipes[op.pipe]
		p := held[0]
		ev.n = min(p.n, op.n)
		if k.chance(30) {
			ev.n = 1 + k.r.IntN(ev.n)
		}
		k.accept([]simPage{{file: p.file, off: p.off, n: ev.n}}, op.more || ev.n < p.n)
		p.off, p.n = p.off+int64(ev.n), p.n-ev.n
		if held[0] = p; p.n == 0 {
			held = held[1:]
		}
		k.pipes[op.pipe] = held
	case opNotify:
		switch {
		case k.dead:
			return fail(unix.EPIPE)
		case k.full() || k.chance(10):
			return fail(unix.EAGAIN)
		}
		if len(k.open) > 0 {
			k.accept(nil, false)
		}
		k.pending = append(k.pending, simRecord{data: []byte{1, 0}, alert: true})
		ev.n = 2
	case opRead, opSpliceIn:
		if k.chance(5) {
			return fail(unix.EAGAIN)
		}
		if k.chance(1) && k.chance(5) {
			k.excuse = "the disk failed"
			return fail(unix.EIO)
		}
		want := op.n
		if op.kind == opRead {
			want = len(op.buf)
		}
		ev.n = int(max(min(int64(want), k.file.size-op.off), 0))
		if ev.n > 1 && k.chance(30) {
			ev.n = 1 + k.r.IntN(ev.n)
		}
		if op.kind == opRead {
			copy(op.buf, simPage{file: k.file, off: op.off, n: ev.n}.bytes())
		} else if ev.n > 0 {
			if len(k.pipes[op.pipe]) > 0 {
				k.t.Error("a pipe is filled that is not empty")
			}
			k.pipes[op.pipe] = []simPage{{file: k.file, off: op.off, n: ev.n}}
		}
	case opClose:
		unread := len(k.say) > 0
		if k.linger || unread || k.dead || len(k.pending)+len(k.open) > 0 {
			k.rst = !k.fin // what the client does not have yet, it will not get
			k.queue, k.pending, k.finQueued = nil, nil, false
		}
	default:
		panic(fmt.Sprint("operation ", op.kind))
	}
	return ev
}

// run drives a connection to its end, and returns why it did not get there.
func (k *simKernel) run() error {
	op := k.conn.start(k.now)
	for step := 0; ; step++ {
		if step > 200_000 {
			return fmt.Errorf("no end in state %d, phase %d", k.conn.state, k.conn.transfer.phase)
		}
		k.move()
		k.now = k.now.Add(time.Duration(k.r.IntN(2000)) * time.Microsecond)
		if step == k.r.IntN(4000) {
			k.conn.stopping = true
		}
		if n := k.pendingBytes(); k.tls && n > maxPending+chunk+8<<10 {
			return fmt.Errorf("%d bytes are pending", n)
		}
		var ev event
		switch op.kind {
		case opWait:
			k.now = op.deadline
			ev = event{late: true, now: k.now}
		case opRecv, opRoom:
			var ok bool
			if ev, ok = k.wait(op); !ok {
				// Nothing has happened. Time goes on; sometimes to the deadline.
				if k.chance(3) && k.r.IntN(3) == 0 || k.stuck || k.dead {
					if op.kind == opRoom && k.excuse == "" {
						k.excuse = "the client took nothing for long"
					}
					k.now = op.deadline
				}
				if k.now.Before(op.deadline) {
					continue
				}
				ev = event{late: true, err: unix.ECANCELED, now: k.now}
			}
		default:
			ev = k.perform(op)
		}
		if op.kind == opClose {
			return nil
		}
		op = k.conn.step(ev)
	}
}

// wait answers an operation that waits, if what it waits for is there.
func (k *simKernel) wait(op operation) (event, bool) {
	ev := event{now: k.now}
	switch {
	case k.dead:
		ev.err = unix.ECONNRESET
		return ev, true
	case op.kind == opRoom:
		ev.n = unix.POLLOUT
		return ev, k.chance(5) || !k.full()
	case len(k.say) > 0 && k.chance(50):
		ev.n = copy(op.buf[:min(len(op.buf), 1+k.r.IntN(3000))], k.say)
		k.say = k.say[ev.n:]
		return ev, true
	case len(k.say) == 0 && (k.closing || k.fin) && k.chance(30):
		return ev, true // end of file
	}
	return ev, false
}

// simulate runs one seed and returns what is wrong.
func simulate(t *testing.T, seed uint64) error {
	k := &simKernel{
		t: t, r: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(1e9, 0),
		pipes: map[*pipe][]simPage{}, linger: true,
	}
	sizes := []int64{0, 1, 1000, chunk - 1, chunk, chunk + 1, chunk + lastPiece, 3*chunk + 7, 300 << 10}
	k.file = &simFile{size: sizes[k.r.IntN(len(sizes))]}
	k.tls = k.chance(60)
	k.room = 4096 << k.r.IntN(8)
	k.closing = k.chance(30)
	type answer struct {
		file byte
		size int64
	}
	var answers []answer
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.file.opened = k.file.version
		answers = append(answers, answer{k.file.version, k.file.size})
		k.file.Acquire()
		defer k.file.Release()
		w.Header().Set("Content-Length", fmt.Sprint(k.file.size))
		io.CopyN(w, io.NewSectionReader(k.file, 0, k.file.size), k.file.size)
	})
	requests := 1 + k.r.IntN(3)
	for i := range requests {
		k.say = append(k.say, "GET / HTTP/1.1\r\nHost: b\r\n"...)
		if i == requests-1 && k.chance(50) {
			k.say = append(k.say, "Connection: close\r\n"...)
		}
		k.say = append(k.say, "\r\n"...)
	}
	if k.chance(30) {
		k.say = append(k.say, strings.Repeat("x", k.r.IntN(20<<10))...) // unread, or a bad request
	}
	k.conn = newConn(&settings{
		handler: handler, headerTimeout: 10 * time.Second, idleTimeout: 20 * time.Second, stallTimeout: 30 * time.Second,
		log: slog.New(slog.DiscardHandler),
	}, k, "sim", nil)
	if k.tls {
		k.conn.transport = kernel
	}
	if err := k.run(); err != nil {
		return err
	}
	if len(k.pipes) > 0 || k.file.refs != 0 {
		return fmt.Errorf("%d pipes and %d references are left", len(k.pipes), k.file.refs)
	}
	for !k.rst && !k.stuck && !k.dead && (len(k.queue) > 0 || k.finQueued) {
		k.deliver() // TCP goes on after the close
	}
	clean := k.fin && (k.notify || !k.tls)
	if k.excuse == "" && !clean {
		return fmt.Errorf("the connection did not end in order, for no reason: FIN %v, close_notify %v, reset %v", k.fin, k.notify, k.rst)
	}
	whole, err := check(k.got, clean, func(i int) (byte, int64, bool) {
		if i >= len(answers) {
			return 0, 0, false
		}
		return answers[i].file, answers[i].size, true
	})
	if err == nil && k.excuse == "" && whole < len(answers) {
		return fmt.Errorf("%d of %d responses arrived, for no reason", whole, len(answers))
	}
	return err
}

// check reads responses as a client does. One that is whole, by its
// Content-Length, must be one version of the file; and a clean end must be
// behind a whole response. It returns how many of the file's are whole.
func check(got []byte, clean bool, answer func(int) (version byte, size int64, ok bool)) (whole int, err error) {
	in := bufio.NewReader(bytes.NewReader(got))
	for i := 0; ; i++ {
		if _, err := in.Peek(1); err != nil {
			return whole, nil
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			if clean {
				return whole, fmt.Errorf("a clean end within the head of response %d", i)
			}
			return whole, nil
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			if clean {
				return whole, fmt.Errorf("a clean end after %d bytes of %d of response %d", len(body), res.ContentLength, i)
			}
			return whole, nil
		}
		if res.StatusCode != http.StatusOK {
			continue
		}
		version, size, ok := answer(i)
		if !ok || size != int64(len(body)) {
			return whole, fmt.Errorf("response %d has %d bytes, the file %d", i, len(body), size)
		}
		want := simFile{version: version}
		for off, b := range body {
			if b != want.at(int64(off)) {
				return whole, fmt.Errorf("response %d is whole, and wrong at %d of %d", i, off, len(body))
			}
		}
		whole++
	}
}

// TestSimulation runs connections against kernels and clients that do whatever a
// seed says. A failing seed runs again with
//
//	go test ./service -run TestSimulation -sim.first SEED -sim.seeds 1
func TestSimulation(t *testing.T) {
	seeds := *simSeeds
	for i := range seeds {
		seed := *simFirst + uint64(i)
		if err := simulate(t, seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if t.Failed() {
			t.Fatalf("again: go test ./service -run TestSimulation -sim.first %d -sim.seeds 1", seed)
		}
	}
}
