package server

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
	"uringhttpd/service/flow"
	"uringhttpd/uring"
)

// A world is a kernel, its clients and its clock, controlled by a script. It is
// the system of a loop.
type world struct {
	*script
	loop    *loop
	clock   time.Time
	steps   int
	jumps   int // of time, while events could still happen
	faults  []string
	clients []*simClient

	flights []*flight
	handles uint64
	sockets map[int]*simSocket // by descriptor
	pipes   map[*pipe][]simPage
	refs    int // to open files
	file    *simFile

	jobs  []simJob
	in    *simPool // that of the job that runs; nil: the loop's thread
	woken bool
	disk  simDisk

	cache        *simCache // nil: none
	cacheChanged bool      // its descriptor is readable
	leases       int       // of answers in memory

	late           bool // clients come one after the other
	deadly         bool // clients vanish, again and again
	hasty          bool // the service is aborted soon
	noSplice       bool // bytes from noSpliceFrom on must be copied
	noSpliceFrom   int64
	fills          int  // that may be in flight at a time
	changing       bool // the file changes, again and again
	changeRate     int  // how often, of a thousand steps; often, hardly any download gets to its end
	kernelTLS      bool
	driver         simDriver  // that the kernel selects
	otherDriver    *simDriver // registered some time, or removed again; nil: none
	testing        bool       // it is registered once the kernel has tested it
	uninstantiated bool       // the kernel instantiates the driver on its first use
	otherRecords   int        // records that the other driver has encrypted
	engine         simEngine  // of those that are asynchronous
	calmAt         time.Time  // when all clients were done, and the service was asked to stop
}

// A flight is an operation in the ring.
type flight struct {
	handle    uring.Handle
	token     uint64
	kind      flightKind
	fd        int // of a listener: its number
	op        operation
	sum       uint64 // of the memory that is sent
	cancelled bool
	waiting   bool // its work is done, and it will return result
	result    uring.Completion
}

type flightKind uint8

const (
	flightOp flightKind = iota
	flightAccept
	flightWaker
	flightCache
)

type simJob struct {
	pool  *simPool
	token uint64
	run   func()
	at    time.Time // when it was submitted
	begun bool      // of the disk's pool: a worker has it
}

const (
	maxSteps = 500_000
	// maxCalm exceeds the duration of any state in a world without further
	// actions of clients.
	maxCalm = 10 * time.Minute
)

var errFault = errors.New("the world has found a fault")

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *world) now() time.Time { return w.clock }

func (w *world) launch(f *flight) (uring.Handle, error) {
	w.handles++
	f.handle = uring.Handle(w.handles)
	w.flights = append(w.flights, f)
	return f.handle, nil
}

func (w *world) accept(fd int, token uint64) (uring.Handle, error) {
	return w.launch(&flight{kind: flightAccept, fd: fd, token: token})
}

func (w *world) awaitWaker(token uint64) (uring.Handle, error) {
	return w.launch(&flight{kind: flightWaker, token: token})
}

func (w *world) start(fd int, op operation, token uint64) (uring.Handle, error) {
	f := &flight{fd: fd, op: op, token: token, sum: sum(op.buf)}
	for _, other := range w.flights {
		if other.token == token {
			w.fault("a connection has two operations in flight")
		}
		if overlap(other.op.buf, op.buf) {
			w.fault("a buffer is used by two operations")
		}
	}
	for _, j := range w.jobs {
		if !j.pool.free && j.token != tokenPrepare && w.ringToken(j.token) == token {
			w.fault("a connection has an operation beside a job")
		}
	}
	if s := w.sockets[fd]; s == nil {
		w.fault("an operation on descriptor %d, which is closed", fd)
	} else if w.mustLeaveLoop(s, op) && !op.async {
		w.fault("operation %d may wait for the engine, on the loop's thread", op.kind)
	}
	if op.kind == opSpliceIn && len(w.pipes[op.pipe]) > 0 {
		w.fault("a pipe is filled that is not empty")
	}
	return w.launch(f)
}

func sum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b[:min(len(b), 64)])
	h.Write(b[max(0, len(b)-64):])
	return h.Sum64()
}

func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	at, bt := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return at < bt+uintptr(len(b)) && bt < at+uintptr(len(a))
}

func (w *world) cancel(h uring.Handle) error {
	for _, f := range w.flights {
		if f.handle == h {
			f.cancelled = true
		}
	}
	return nil
}

func (w *world) take(fd int) (socket, netip.AddrPort, netip.AddrPort, error) {
	s := w.sockets[fd]
	s.linger, s.taken = true, true
	var err error
	s.meter, err = ktls.NewMeter(s)
	addr := netip.AddrFrom4([4]byte{10, 0, 0, 1})
	return s, netip.AddrPortFrom(addr, s.client.port), netip.AddrPortFrom(addr.Next(), 443), err
}

func (w *world) close(fd int) {
	s := w.sockets[fd]
	if s == nil {
		w.fault("descriptor %d is closed twice", fd)
		return
	}
	for _, f := range w.flights {
		if f.kind == flightOp && f.fd == fd && f.op.kind != opClose && !w.hangs(f) {
			w.fault("descriptor %d is closed under an operation", fd)
		}
	}
	delete(w.sockets, fd)
	s.closeSocket()
}

// ringToken is the token of a slot's operations.
func (w *world) ringToken(slot uint64) uint64 {
	return tokenBase + uint64(len(w.loop.listeners)) + slot
}

// The pools.

type simPool struct {
	w    *world
	free bool // its jobs are no connection's
	done []uint64
}

func (p *simPool) Submit(token uint64, run func()) {
	for _, f := range p.w.flights {
		if !p.free && token != tokenPrepare && f.token == p.w.ringToken(token) {
			p.w.fault("a connection has a job beside an operation")
		}
	}
	p.w.jobs = append(p.w.jobs, simJob{pool: p, token: token, run: run, at: p.w.clock})
}

func (p *simPool) Finished(buf []uint64) []uint64 {
	buf = append(buf, p.done...)
	p.done = nil
	return buf
}

func (p *simPool) Replace(token uint64) bool {
	return slices.ContainsFunc(p.w.jobs, func(j simJob) bool { return j.pool == p && j.token == token && p.w.stops(j) })
}

func (p *simPool) Close(time.Duration) bool {
	for len(p.w.jobs) > 0 && p.w.chance(500) {
		p.w.work() // it runs already
	}
	for _, j := range slices.Clone(p.w.jobs) {
		if j.pool == p && j.begun && !p.w.stops(j) {
			p.w.run(j) // waited for
		}
	}
	p.w.jobs = slices.DeleteFunc(p.w.jobs, func(j simJob) bool { return j.pool == p && (!p.w.stops(j) || p.w.waitsForWorker(j)) })
	return !slices.ContainsFunc(p.w.jobs, func(j simJob) bool { return j.pool == p })
}

// works reports whether there is a job that can end.
func (w *world) works() bool {
	return slices.ContainsFunc(w.jobs, func(j simJob) bool { return !w.stops(j) })
}

// work runs one of the jobs that can end, if there is one.
func (w *world) work() {
	goes := slices.DeleteFunc(slices.Clone(w.jobs), w.stops)
	if len(goes) > 0 {
		w.run(goes[w.choice(len(goes))])
	}
}

// run runs a job to its end.
func (w *world) run(j simJob) {
	w.jobs = slices.DeleteFunc(w.jobs, func(other simJob) bool { return other.pool == j.pool && other.token == j.token })
	w.in = j.pool
	j.run()
	w.in = nil
	j.pool.done = append(j.pool.done, j.token)
	w.woken = true
}

// ask models Server.Shutdown or Abort.
func (w *world) ask(request uint32) {
	w.loop.stopRequest.Store(request)
	w.woken = true
	for _, c := range w.clients {
		whole, err := c.check()
		c.early = !c.ended && (err != nil || whole < c.due)
	}
}

// wait advances the world, and passes on the completions.
func (w *world) wait(timeout time.Duration, complete func(uring.Completion)) error {
	w.steps++
	switch {
	case len(w.faults) > 0:
		return errFault
	case w.steps > maxSteps || !w.calmAt.IsZero() && w.clock.Sub(w.calmAt) > maxCalm:
		w.fault("no end: %s", w.describe())
		return errFault
	}
	w.waited()
	w.checkOwners()
	w.move()
	w.received()
	var batch []uring.Completion
	skipped := false
	for i := 0; i < len(w.flights); {
		// In any order: an operation that is skipped completes later.
		f := w.flights[i]
		if w.chance(150) {
			skipped = true
			i++
			continue
		}
		c, ok := w.answer(f)
		if !ok {
			i++
			continue
		}
		w.flights = append(w.flights[:i:i], w.flights[i+1:]...)
		batch = append(batch, c)
	}
	if len(batch) > 1 && w.chance(300) {
		batch[0], batch[len(batch)-1] = batch[len(batch)-1], batch[0]
	}
	if len(batch) == 0 && !skipped {
		w.pass(timeout)
	} else {
		w.clock = w.clock.Add(time.Duration(w.choice(400)) * time.Microsecond)
	}
	for _, c := range batch {
		complete(c)
	}
	return nil
}

func (w *world) describe() string {
	text := fmt.Sprintf("%d steps, %v, engine %+v and %+v; %d connections, %d operations, %d jobs;", w.steps, w.clock.Unix()-1e9, w.engine, w.loop.engine, w.loop.live, len(w.flights), len(w.jobs))
	for _, s := range w.loop.slots {
		if s.conn != nil {
			text += fmt.Sprintf(" owner %v, state %v, phase %v, then %v;", s.owner, s.conn.state, s.conn.transfer.phase, s.conn.then)
		}
	}
	for _, c := range w.clients {
		text += fmt.Sprintf("; client %d done %v, excuse %q, says %d, unsaid %d, FIN said %v, ended %v; socket fd %d, dead %v, queue %d, FIN %v, in %d, its FIN %v, pending %d",
			c.port, c.done(), c.excuse, len(c.sending), len(c.requests), c.finSent, c.ended, c.sock.fd, c.sock.dead, total(c.sock.queue), c.sock.fin, len(c.sock.in), c.sock.inFIN, c.sock.pendingBytes())
	}
	return text
}

// checkOwners compares the owner of each connection with the operations and jobs that there are.
func (w *world) checkOwners() {
	live, lost := 0, 0
	for i, s := range w.loop.slots {
		if s.conn == nil {
			continue
		}
		if s.owner.orphaned() {
			lost++
		} else {
			live++
		}
		inRing := slices.ContainsFunc(w.flights, func(f *flight) bool { return f.token == w.ringToken(uint64(i)) })
		var on *simPool
		for _, j := range w.jobs {
			if !j.pool.free && j.token == uint64(i) {
				on = j.pool
			}
		}
		for _, p := range []any{w.loop.workers, w.loop.disk, w.loop.handshakers, w.loop.engine.closers} {
			if p := p.(*simPool); slices.Contains(p.done, uint64(i)) {
				on = p
			}
		}
		ok := false
		switch s.owner {
		case ownerNone, ownerFillQueue, ownerEngineQueue, ownerOrphan:
			ok = !inRing && on == nil
		case ownerRing, ownerFill, ownerEngine, ownerOrphanInRing:
			ok = inRing && on == nil
		case ownerWorker:
			ok = !inRing && on != nil && (on == w.loop.workers || on == w.loop.disk)
		case ownerHandshaker:
			ok = !inRing && on == w.loop.handshakers
		case ownerCloser:
			ok = !inRing && on == w.loop.engine.closers
		case ownerOrphanOnWorker:
			ok = !inRing && on != nil
		}
		if (s.owner == ownerEngineQueue || s.owner.orphaned()) && s.heapIndex != -1 {
			w.fault("%q has a connection in state %v with a deadline", s.owner, s.conn.state)
		}
		if !ok {
			w.fault("%q has a connection in state %v: an operation is in the ring: %v, a job exists: %v", s.owner, s.conn.state, inRing, on != nil)
		}
	}
	if live != w.loop.live || lost != w.loop.engine.orphaned {
		w.fault("%d connections are live and %d lost, counted are %d and %d", live, lost, w.loop.live, w.loop.engine.orphaned)
	}
}

// pass advances the time when nothing completes.
func (w *world) pass(timeout time.Duration) {
	busy := w.works() || w.disk.hangs && w.disk.heals
	for _, c := range w.clients {
		if (w.engine.dead || w.disk.hangs) && c.excuse != "" && (c.stuck || c.sock.dead != 0 || len(c.sock.queue) == 0) {
			continue // it waits for the engine
		}
		busy = busy || !c.done() || !c.stuck && c.sock.dead == 0 && (len(c.sock.queue) > 0 || c.sock.fin || c.sock.sealing() || len(c.sock.in) > 0)
	}
	jump := timeout > 0 && !busy
	if busy && timeout > 0 && w.jumps < 3 && w.chance(5) {
		jump = true
		w.jumps++
		for _, c := range w.clients {
			c.excused("time has passed")
		}
	}
	if jump {
		w.clock = w.clock.Add(timeout)
		return
	}
	w.clock = w.clock.Add(time.Duration(100+w.choice(900)) * time.Microsecond)
}

// move advances the workers, the engine, the network, the clients and the disk.
func (w *world) move() {
	w.beginJobs()
	for w.works() && !w.chance(400) {
		w.work()
	}
	if n := w.loop.handshakes; n < 0 || n > len(w.jobs) && !w.woken {
		w.fault("%d handshakes are counted, of %d jobs", n, len(w.jobs))
	}
	w.injectFailures()
	if w.chance(5) || w.testing && w.chance(50) {
		w.swapDrivers()
	}
	calm, taken := true, true
	for _, c := range w.clients {
		if s := w.slotOf(c.sock.fd); s != nil && s.yields {
			c.excused("another client waits for its place")
		}
		c.move()
		for range 4 {
			if w.chance(400) {
				break
			}
			c.sock.encrypt()
		}
		for range 4 {
			if w.chance(400) {
				break
			}
			c.sock.deliver()
		}
		calm, taken = calm && c.done(), taken && c.sock.taken
		if n := c.sock.pendingBytes(); n > flow.MaxPending {
			w.fault("client %d: %d bytes are inside kernel TLS", c.port, n)
		}
		if n := int64(w.heldFor(c)); n > w.loop.gen.buffer {
			w.fault("the kernel holds %d bytes for client %d", n, c.port)
		}
	}
	if n := w.reading(); n > w.fills || len(w.loop.fills.waiting) > 0 && n < w.fills {
		w.fault("%d files are read into pipes at a time, while %d wait", n, len(w.loop.fills.waiting))
	}
	if w.changing && w.chance(w.changeRate) { // also when the service has closed it: TCP may still hold its pages
		w.change()
	}
	switch {
	case w.loop.stopRequest.Load() != 0:
		if calm && w.calmAt.IsZero() {
			w.calmAt = w.clock
		}
	case calm && (taken && w.loop.live == 0 || w.chance(20)) || w.chance(1) && w.chance(60):
		w.ask(stopGracefully)
	case w.chance(1) && w.chance(20) || w.hasty && w.chance(5):
		w.ask(stopNow)
		for _, c := range w.clients {
			c.excused("the service is aborted")
		}
	}
}

// heldFor returns the number of bytes that the kernel holds for a client's connection.
func (w *world) heldFor(c *simClient) int {
	n := total(c.sock.queue) + c.sock.pendingBytes()
	if s := w.slotOf(c.sock.fd); s != nil && s.conn.transfer.pipe != nil {
		n += total(w.pipes[s.conn.transfer.pipe])
	}
	return n
}

// slotOf returns the slot of an open connection.
func (w *world) slotOf(fd int) *slot {
	for _, s := range w.loop.slots {
		if s.conn != nil && s.fd == fd {
			return s
		}
	}
	return nil
}

// reading returns the number of splices from files.
func (w *world) reading() (n int) {
	for _, f := range w.flights {
		if f.kind == flightOp && f.op.kind == opSpliceIn {
			n++
		}
	}
	return n
}

// change overwrites the file in place, and sometimes cuts or extends it.
func (w *world) change() {
	w.file.version++
	switch {
	case w.chance(250):
		w.file.size /= 2
	case w.chance(250):
		w.file.size += 1000
	}
	for _, c := range w.clients {
		c.excused("the file has changed")
	}
}

// answer completes an operation, if it can.
func (w *world) answer(f *flight) (c uring.Completion, ok bool) {
	n, errno, ok := 0, unix.Errno(0), false
	switch {
	case f.waiting:
		s := w.sockets[f.fd]
		if s.holds() {
			return c, false
		}
		f.waiting, s.locked = false, false
		return f.result, true
	case w.hangs(f):
		return c, false
	case f.kind == flightWaker:
		ok, n = w.woken, 8
		w.woken = false
	case f.kind == flightAccept:
		n, errno, ok = w.answerAccept(f)
	case f.kind == flightCache:
		ok, n = w.cacheChanged || w.chance(20), unix.POLLIN
	case f.cancelled && waits(f.op.kind) && !w.chance(300):
		errno, ok = unix.ECANCELED, true
		if w.chance(300) {
			errno = unix.EINTR
		}
	case f.op.kind == opClose:
		if s := w.sockets[f.fd]; s != nil && s.holds() {
			w.fault("descriptor %d is closed in the ring, and the engine has records of it", f.fd)
		}
		w.close(f.fd)
		ok = true
	default:
		s := w.sockets[f.fd]
		if s == nil {
			w.fault("an operation on descriptor %d outlives it", f.fd)
			return c, false
		}
		if f.op.kind == opSend && sum(f.op.buf) != f.sum {
			w.fault("a buffer is changed while it is sent")
		}
		n, errno, ok = w.perform(s, f.op)
	}
	c = uring.Completion{Token: f.token, Result: int32(n)}
	if errno != 0 {
		c.Result = -int32(errno)
	} else if s := w.sockets[f.fd]; ok && f.kind == flightOp && s != nil && w.waitsForEngine(f, s) {
		f.waiting, s.locked, f.result = true, true, c
		return c, false
	}
	return c, ok
}

func waits(k opKind) bool { return k == opRecv || k == opWritable }

// answerAccept takes a client that has connected to the listener.
func (w *world) answerAccept(f *flight) (fd int, errno unix.Errno, ok bool) {
	if f.cancelled && !w.chance(300) {
		return 0, unix.ECANCELED, true
	}
	if w.chance(20) {
		return 0, []unix.Errno{unix.ECONNABORTED, unix.EINTR, unix.EMFILE, unix.ENOBUFS, unix.EPERM}[w.choice(5)], true
	}
	for i, c := range w.clients {
		if i > 0 && w.late && w.chance(990) {
			continue
		}
		if c.sock.fd < 0 && !c.sock.closed && (c.tls != nil) == w.loop.listeners[f.token-tokenBase].TLS {
			fd = 3
			for w.sockets[fd] != nil {
				fd++ // the lowest free one, as the kernel gives it
			}
			w.sockets[fd], c.sock.fd = c.sock, fd
			return fd, 0, true
		}
	}
	return 0, 0, false
}

// perform answers an operation on a socket or the file.
func (w *world) perform(s *simSocket, op operation) (n int, errno unix.Errno, ok bool) {
	if w.chance(20) {
		return 0, unix.EINTR, true
	}
	switch op.kind {
	case opRecv:
		return w.recv(s, op.buf)
	case opWritable:
		if s.dead != 0 {
			return unix.POLLERR | unix.POLLHUP, 0, true
		}
		return unix.POLLOUT, 0, !s.full() || w.chance(50)
	case opSpliceIn:
		n, errno = w.read(op)
	case opSend, opSpliceOut, opAlert:
		n, errno = w.send(s, op)
	}
	return n, errno, true
}

func (w *world) recv(s *simSocket, buf []byte) (n int, errno unix.Errno, ok bool) {
	switch {
	case s.dead != 0:
		return 0, s.dead, true
	case len(s.in) > 0:
		n = copy(buf[:min(len(buf), w.upTo(len(s.in)))], s.in)
		s.in = s.in[n:]
		return n, 0, true
	}
	return 0, 0, s.inFIN
}

func (w *world) read(op operation) (n int, errno unix.Errno) {
	if w.chance(30) {
		return 0, []unix.Errno{unix.EAGAIN, unix.ENOMEM}[w.choice(2)]
	}
	if w.fails() {
		return 0, unix.EIO
	}
	n = int(max(min(int64(op.n), w.file.size-op.off), 0))
	if n > 0 {
		n = w.upTo(n)
	}
	if w.noSplice && op.off >= w.noSpliceFrom {
		return 0, unix.EINVAL // as some file systems answer, and here in the middle too
	}
	if n > 0 {
		w.pipes[op.pipe] = append(w.pipes[op.pipe], simPage{file: w.file, off: op.off, n: n})
	}
	return n, 0
}

func (w *world) send(s *simSocket, op operation) (n int, errno unix.Errno) {
	switch {
	case s.dead != 0:
		return 0, unix.EPIPE
	case s.full() || w.chance(50):
		return 0, unix.EAGAIN
	case w.chance(20):
		return 0, []unix.Errno{unix.ENOBUFS, unix.ENOMEM}[w.choice(2)]
	}
	switch op.kind {
	case opAlert:
		s.message(op.msg.Control()[unix.CmsgLen(0)], op.msg.Payload())
		return len(op.msg.Payload()), 0
	case opSend:
		n = w.upTo(len(op.buf))
		s.send(ownPage(op.buf[:n]), op.more || n < len(op.buf))
		return n, 0
	}
	held := w.pipes[op.pipe]
	for len(held) > 0 && n < op.n {
		m := min(held[0].n, op.n-n)
		if m = w.upTo(m); m < held[0].n || len(held) == 1 {
			s.send(held[0].cut(m), op.more || held[0].n > 0)
		} else {
			s.send(held[0].cut(m), true)
		}
		n += m
		if held[0].n > 0 {
			break
		}
		held = held[1:]
	}
	w.pipes[op.pipe] = held
	return n, 0
}

// end closes the ring: each operation in flight is cancelled, or completes before that.
// Operations that wait for a dead engine stay.
func (w *world) end(complete func(uring.Completion)) error {
	var stay []*flight
	defer func() { w.flights = stay }()
	for len(w.flights) > 0 {
		f := w.flights[0]
		if f.waiting && !w.engine.dead {
			w.sockets[f.fd].sealAll()
		}
		f.cancelled = true
		var c uring.Completion
		ok := false
		if f.op.kind != opClose || f.kind != flightOp || !w.chance(300) { // a close may not have begun
			c, ok = w.answer(f)
		}
		if w.hangs(f) {
			stay = append(stay, f)
			w.flights = w.flights[1:]
			continue
		}
		if f.waiting && !ok {
			if w.engine.dead {
				stay = append(stay, f)
				w.flights = w.flights[1:]
			}
			continue
		}
		if !ok {
			c = uring.Completion{Token: f.token, Result: -int32(unix.ECANCELED)}
		}
		w.flights = w.flights[1:]
		complete(c)
	}
	if len(stay) > 0 {
		return os.ErrDeadlineExceeded
	}
	return nil
}
