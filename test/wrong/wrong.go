// Package wrong makes mutants of the daemon: builds that are wrong on purpose, each in one way
// that loses data or memory on real boards. The test of a promise also runs with its mutants:
// a test that does not fail there proves nothing.
//
// The product has no switch for this. A mutant is the product's source with one passage
// replaced while it is compiled (go build -overlay).
package wrong

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Variant is a mutant.
type Variant struct {
	Name  string
	Edits []Edit
}

// An Edit replaces a passage of a file.
type Edit struct {
	File     string // from the module's root
	Old, New string // Old stands there exactly once
}

// NoDrain sends the end of a response, and ends the connection, without waiting for the
// data inside kernel TLS. It tries close_notify once, as many servers do.
var NoDrain = Variant{"no drain", []Edit{
	{
		File: "service/server/conn_close.go",
		Old:  "case r.Pending > 0:\n\t\treturn c.pollLater(r, now)\n\t}\n\treturn c.proceed(now)",
		New:  "case r.Pending > 1<<40:\n\t}\n\treturn c.proceed(now)",
	},
	{
		File: "service/server/transfer.go",
		Old:  "if r.Pending > 0 || c.transport == plain && r.Unacked > 0 {",
		New:  "if c.transport == plain && r.Unacked > 0 {",
	},
	{
		File: "service/server/conn_close.go",
		Old:  "c.state = stAlertWritable\n\t\tc.wait.pushAt = time.Time{}\n\t\treturn operation{kind: opWritable, deadline: c.nextLook(ev.now)}",
		New:  "return c.shutdown(ev.now)",
	},
}}

// OnlyPOLLOUT pushes whenever the socket accepts bytes, however much is pending, and lets the
// socket's buffer grow to its maximum.
var OnlyPOLLOUT = Variant{"POLLOUT is the only gate", []Edit{
	{
		File: "service/flow/control.go",
		Old:  "c.total = min(c.limit-overheadReserve-r.Unacked, c.window.size-r.Unsent) - r.Pending - int64(held)\n\tc.inTLS = MaxPending - overheadReserve - r.Pending\n",
		New:  "c.total, c.inTLS = Chunk, Chunk\n",
	},
	{
		File: "service/server/socket_linux.go",
		Old:  "unix.TCP_NOTSENT_LOWAT, n)",
		New:  "unix.TCP_NOTSENT_LOWAT, 0*n)",
	},
}}

// Unbounded does not limit TCP's buffer, which grows with the data that the client has read, up
// to the last number of net.ipv4.tcp_wmem.
var Unbounded = Variant{"no bound on TCP's buffer", []Edit{{
	File: "service/flow/control.go",
	Old:  "min(c.limit-overheadReserve-r.Unacked, c.window.size-r.Unsent)",
	New:  "min(c.limit-overheadReserve, 1<<40)",
}}}

// NoShare gives each connection the memory that a single connection may have.
var NoShare = Variant{"no share of memory", []Edit{{
	File: "service/server/accept.go",
	Old:  "l.shared.memory / int64(max(1, l.live))",
	New:  "l.shared.memory",
}}}

// NoLook does not limit the window by the share.
var NoLook = Variant{"the share is ignored", []Edit{{
	File: "service/flow/control.go",
	Old:  "c.window.update(r.Acked-c.acked, now, share)",
	New:  "c.window.update(r.Acked-c.acked, now, 1<<40)",
}}}

// PushedOnce waits for room, although there may never be any.
var PushedOnce = Variant{"pushed once", []Edit{{
	File: "service/server/transfer.go",
	Old:  "	if c.usesEngine() {\n		c.wait.pushAgain",
	New:  "	if false {\n		c.wait.pushAgain",
}}}

// NoTurns reads as many files at once as are requested. On a hung disk, these reads take all
// threads, including those that sockets need.
var NoTurns = Variant{"no splice semaphore", []Edit{{
	File: "service/server/semaphore.go",
	Old:  "if t.free == 0 {",
	New:  "if t.free < -1<<20 {",
}}}

// FreePipe does not count the bytes in the pipe.
var FreePipe = Variant{"the pipe is not counted", []Edit{{
	File: "service/flow/control.go",
	Old:  " - r.Pending - int64(held)",
	New:  " - r.Pending",
}}}

// WrongMeter computes the bytes passed to TCP from TCP's count of bytes sent. That counts a
// packet twice that is dropped in a queue of this machine.
var WrongMeter = Variant{"wrong meter", []Edit{{
	File: "ktls/meter.go",
	Old:  "Unacked:  int64(queued),\n\t\tUnsent:   int64(info.Notsent_bytes),\n\t\tAcked:    int64(info.Bytes_acked),",
	New:  "Unacked:  int64(info.Notsent_bytes) + 0*int64(queued),\n\t\tUnsent:   int64(info.Notsent_bytes),\n\t\tAcked:    int64(info.Bytes_sent - info.Bytes_retrans),",
}}}

// Deaf does not read the alert of a client that has left.
var Deaf = Variant{"alerts are not read", []Edit{{
	File: "service/server/alert.go",
	Old:  "c.readAlerts(c.input.wire[:c.sock.Received(c.input.wire)])",
	New:  "",
}}}

// NoLinger closes with input unread, and so resets the connection.
var NoLinger = Variant{"close with unread input", []Edit{{
	File: "service/server/conn_close.go",
	Old:  "return c.discard(now)\n}\n\n// discard",
	New:  "return c.closeSocket()\n}\n\n// discard",
}}}

// NoReset lets the kernel end connections when the program is killed: in order, as if all data
// had been sent.
var NoReset = Variant{"no reset when killed", []Edit{{
	File: "service/server/socket_linux.go",
	Old:  "&unix.Linger{Onoff: 1}); err != nil {",
	New:  "&unix.Linger{}); err != nil {",
}}}

// StopsAtOnce resets all connections at the first SIGTERM.
var StopsAtOnce = Variant{"stops at once", []Edit{{
	File: "service/server/loop.go",
	Old:  "case stopGracefully:\n\t\tl.stop()",
	New:  "case stopGracefully:\n\t\tl.fatal = ErrAborted",
}}}

// SecondIgnored serves all clients to the end, whatever signals arrive.
var SecondIgnored = Variant{"the second SIGTERM is ignored", []Edit{{
	File: "service/run.go",
	Old:  "srv.Abort()",
	New:  "",
}}}

// FullIsEmpty compares the positions of the completion queue's ends modulo its size, and so takes
// a full queue for an empty one.
var FullIsEmpty = Variant{"a full queue is empty", []Edit{{
	File: "uring/ring.go",
	Old:  "head := atomic.LoadUint32(r.cqHead); head != tail; {",
	New:  "head := atomic.LoadUint32(r.cqHead); head&r.cqMask != tail&r.cqMask; {",
}}}

// NotAsked does not read the socket's error while it waits for the engine.
var NotAsked = Variant{"the socket's error is not read", []Edit{{
	File: "service/server/gate.go",
	Old:  "if err := c.sock.Err(); err != nil {",
	New:  "if err := error(nil); err != nil {",
}}}

// NoLateLook ends a connection whose deadline has passed, even if its data has arrived.
var NoLateLook = Variant{"data received in time is ignored", []Edit{{
	File: "service/server/exchange.go",
	Old:  "if ev.n = c.sock.Received(c.requestBuffer()); ev.n == 0 {",
	New:  "if true {",
}}}

// NoSeal sends the end of a file even if the file has changed meanwhile.
var NoSeal = Variant{"no seal", []Edit{{
	File: "service/server/read.go",
	Old:  "decided, err := p.file.Check(wait)\n\tif err != nil {",
	New:  "decided, err := p.file.Check(wait)\n\tif decided = true; false {",
}, {
	File: "service/server/read.go",
	Old:  "if !ev.late && c.jobErr != nil {",
	New:  "if false {",
}}}

// ShortSplice takes a splice into the pipe that moved fewer bytes than requested for a
// complete one.
var ShortSplice = Variant{"a short splice is lost", []Edit{{
	File: "service/server/fill.go",
	Old:  "t.held = ev.n\n\tc.flow.Charge(ev.n)\n\tp.off += int64(ev.n)\n\tp.n -= int64(ev.n)",
	New:  "t.held = ev.n\n\tev.n = int(min(p.n, flow.Chunk))\n\tp.off += int64(ev.n)\n\tp.n -= int64(ev.n)",
}}}

// DirtyPipe keeps pipes for the next transfer, even with data left in them.
var DirtyPipe = Variant{"a dirty pipe is reused", []Edit{
	{
		File: "service/server/environment.go",
		Old:  "type loopState struct {",
		New:  "type loopState struct {\n\toldPipes []*pipe\n\tlast socket",
	},
	{
		File: "service/server/transfer.go",
		Old:  "c.sock.ClosePipe(p)\n",
		New:  "c.loop.oldPipes, c.loop.last = append(c.loop.oldPipes, p), c.sock\n",
	},
	{
		File: "service/server/fill.go",
		Old:  "\tif t.pipe == nil {\n\t\tvar err error\n",
		New:  "\tif n := len(c.loop.oldPipes); t.pipe == nil && n > 0 {\n\t\tt.pipe, c.loop.oldPipes = c.loop.oldPipes[n-1], c.loop.oldPipes[:n-1]\n\t}\n\tif t.pipe == nil {\n\t\tvar err error\n",
	},
	{
		File: "service/server/loop.go",
		Old:  "\t\tl.resetRemaining()\n",
		New:  "\t\tl.resetRemaining()\n\t\tfor _, p := range l.shared.oldPipes {\n\t\t\tl.shared.last.ClosePipe(p)\n\t\t}\n",
	},
}}

// EarlyBuffer continues when a deadline has passed, although the cancelled operation may still
// write to the connection's buffer.
var EarlyBuffer = Variant{"a buffer is used under an operation", []Edit{{
	File: "service/server/loop.go",
	Old:  "s.late = true\n\t\t\tl.cancel(s.handle)\n",
	New:  "l.cancel(s.handle)\n\t\t\tl.setOwner(s, ownerNone)\n\t\t\tl.perform(s, s.conn.step(event{late: true, now: l.now}))\n",
}}}

// DoubleClose closes a descriptor that the ring has closed, and whose number may be in use again.
var DoubleClose = Variant{"double close", []Edit{{
	File: "service/server/loop.go",
	Old:  "\ti := int(s.token)\n",
	New:  "\ti := int(s.token)\n\tl.sys.close(s.fd)\n",
}}}

// SharedWorkers computes handshakes on the workers that run handlers.
var SharedWorkers = Variant{"shared workers", []Edit{{
	File: "service/server/handshake.go",
	Old:  "kind: opHandshake, job",
	New:  "kind: opJob, job",
}}}

// NoSettle trusts a file's timestamps within their clock tick.
var NoSettle = Variant{"no settling", []Edit{{
	File: "service/files/settle.go",
	Old:  "left := stat.unsettled(now)",
	New:  "left := 0 * stat.unsettled(now)",
}}}

// Unsealed sends a whole file as pages of the page cache, and neither waits until they are sent
// nor checks the file again. The cost of the seal is measured against it.
var Unsealed = Variant{"unsealed", []Edit{{
	File: "service/server/transfer.go",
	Old:  "cut := s.N - lastPiece\n\t\t\tpieces = append(pieces,\n\t\t\t\tpiece{file: s.File, off: s.Off, n: cut, splice: true},\n\t\t\t\tpiece{file: s.File, off: s.Off + cut, n: lastPiece, last: true})\n",
	New:  "pieces = append(pieces, piece{file: s.File, off: s.Off, n: s.N, splice: true})\n",
}, {
	File: "service/server/read.go",
	Old:  "if !ev.late && c.jobErr != nil {",
	New:  "if false {",
}}}

// PipesKept never closes the pipe of a transfer.
var PipesKept = Variant{"pipes are kept", []Edit{{
	File: "service/server/transfer.go",
	Old:  "c.sock.ClosePipe(p)",
	New:  "_ = p",
}}}

// RacyBase reads the meter's base without checking whether the client acknowledged data
// meanwhile.
var RacyBase = Variant{"racy base", []Edit{{
	File: "ktls/meter.go",
	Old:  "after.Acked == now.Acked {",
	New:  "after.Acked >= now.Acked {",
}}}

// LateAck counts bytes as pending that the client acknowledges while the meter is read.
var LateAck = Variant{"late acknowledgements are pending", []Edit{{
	File: "ktls/meter.go",
	Old:  "m.tcpMost = max(m.tcpMost, r.Acked+r.Unacked)",
	New:  "m.tcpMost = r.Acked + r.Unacked",
}}}

// NoAckWait sends the end of a file over plain HTTP while TCP still holds pages of the rest,
// which change with the file.
var NoAckWait = Variant{"no wait for acknowledgement", []Edit{{
	File: "service/server/transfer.go",
	Old:  "if r.Pending > 0 || c.transport == plain && r.Unacked > 0 {",
	New:  "if r.Pending > 0 {",
}}}

// WholeFiles reads a file of some megabytes into memory before any of it is sent.
var WholeFiles = Variant{"whole files in memory", []Edit{{
	File: "service/flow/control.go",
	Old:  "Chunk = 64 << 10",
	New:  "Chunk = 16 << 20",
}}}

// Variants returns all variants.
func Variants() []Variant {
	return []Variant{
		NoDrain, OnlyPOLLOUT, WrongMeter, NoLinger, NoReset, NoSeal, NoSettle, Unsealed,
		ShortSplice, DirtyPipe, EarlyBuffer, DoubleClose, SharedWorkers, PipesKept, RacyBase, LateAck, NoAckWait,
		Unbounded, NoShare, NoLook, PushedOnce, FreePipe, NoTurns, WholeFiles, Deaf,
		StopsAtOnce, SecondIgnored, FullIsEmpty, NotAsked, NoLateLook,
		ReadsOnLoop, FreesOnLoop, OnePool, ColdHandlers, NeverWithdrawn, WithdrawnTwice, EndsShort,
		EngineOnLoop, QueueStalls, MarkTrusted, EngineUnbounded, EngineTrusted, Untested, Unwatched, LookedOnce, EngineBlind, EngineHurried, StillOffloads, ClosesDead, ClosesInRing,
		WrongIV, OneTicket, FixedNonce, PartsIgnored, PriorityKept, MarkPrefers, EndlessKeys, FixesIgnored, ProbeStays, TCPTimeout, SeldomLooks, UserKeysEndless, IdleUnwatched,
		StaleContent, ComparedOnce, StaleNames, StaleDirectories, FirstNameOnly, LateWatch, ForgetsChanges, OverflowIgnored, EndlessEvents, OldMemory, ClosedByCache, StaleTurn, LateStale,
		CopiesKept, OldBytes, LeasesUnbounded, LeaseKept, FirstOnly, AdmitsAll, RecordsReused, PlaintextReused, NothingReused,
	}
}

// EngineOnLoop waits for an asynchronous cipher on the loop's thread.
var EngineOnLoop = Variant{"the loop waits for the engine", []Edit{{
	File: "service/server/engine.go",
	Old:  "op.async = true",
	New:  "op.async = false",
}}}

// QueueStalls takes the wait for a handshake worker for a stall of the engine.
var QueueStalls = Variant{"waiting for a worker is a stall", []Edit{{
	File: "service/server/engine.go",
	Old:  "if s.conn.state == stOffload && !s.installing {",
	New:  "if s.conn.state == stOffload && !s.conn.offloading.Load() {",
}}}

// MarkTrusted takes each driver that the kernel marks asynchronous for an engine.
var MarkTrusted = Variant{"every asynchronous driver is an engine", []Edit{{
	File: "platform/cryptoapi/inline.go",
	Old:  "return a.Async && (!a.Inline || a.Hardware)",
	New:  "return a.Async",
}}}

// EngineUnbounded lets any number of operations wait for an engine. If the engine dies, each
// operation keeps its thread.
var EngineUnbounded = Variant{"no bound on waits for the engine", []Edit{{
	File: "service/server/engine.go",
	Old:  "if l.engine.inFlight < l.engine.limit {",
	New:  "if true {",
}}}

// EngineTrusted never tests an engine that does not complete requests.
var EngineTrusted = Variant{"a stalled engine is not tested", []Edit{{
	File: "service/server/engine.go",
	Old:  "if e.dead || e.testing ||",
	New:  "if true || e.dead || e.testing ||",
}}}

// Untested uses drivers that have failed their test.
var Untested = Variant{"no quarantine", []Edit{{
	File: "platform/ktls_linux.go",
	Old:  "if err := verdicts.failure(c); err != nil {",
	New:  "if err := verdicts.failure(c); false {",
}}}

// Unwatched keeps using the driver selection from the start.
var Unwatched = Variant{"new drivers are not detected", []Edit{{
	File: "service/server/drivers.go",
	Old:  "if d.selected == nil && len(of) > 0 {",
	New:  "if len(of) > 0 {",
}}}

// LookedOnce does not check which driver has the keys.
var LookedOnce = Variant{"a driver registered meanwhile is not detected", []Edit{{
	File: "service/server/handshake.go",
	Old:  "c.driver, err = c.proc.drivers.find(suite)",
	New:  "c.driver.Suite = suite",
}}}

// EngineBlind ignores all output of the engine except operations that the loop itself has waited for.
var EngineBlind = Variant{"a slow engine is taken for dead", []Edit{{
	File: "service/server/engine.go",
	Old:  " || l.now.Sub(l.shared.engineOutputAt) < engineTime",
	New:  "",
}}}

// EngineHurried counts the time that a push waits for the engine as the client's.
var EngineHurried = Variant{"a slow push is a stalled client", []Edit{{
	File: "service/server/transfer.go",
	Old:  "c.wait.progressed = ev.now // a crypto",
	New:  "// a crypto",
}}}

// StillOffloads installs keys in an engine that is known to be dead.
var StillOffloads = Variant{"keys for a dead engine", []Edit{{
	File: "service/server/engine.go",
	Old:  "l.proc.offloads.Store(false)",
	New:  "",
}}}

// ClosesDead closes sockets whose records a dead engine has.
var ClosesDead = Variant{"sockets of a dead engine are closed", []Edit{{
	File: "service/server/engine.go",
	Old:  "case s.conn.sock.Empty():\n\t\tl.begin(",
	New:  "default:\n\t\tl.begin(",
}}}

// ClosesInRing closes sockets whose records an engine has by an operation of the ring. The close
// completes, and then its thread waits.
var ClosesInRing = Variant{"the ring closes sockets of the engine", []Edit{{
	File: "service/server/loop.go",
	Old:  "case op.kind == opClose && !s.conn.sock.Empty():",
	New:  "case false:",
}}}

// Overlay writes the files for `go build -overlay` into the directory dir, and returns the name
// of the file to pass. root is the module's root.
func (v Variant) Overlay(root, dir string) (string, error) {
	name := strings.ReplaceAll(v.Name, " ", "-")
	replace := map[string]string{} // the changed file for each of the source
	for _, e := range v.Edits {
		path := filepath.Join(root, e.File)
		from := path
		if changed, ok := replace[path]; ok {
			from = changed
		}
		source, err := os.ReadFile(from)
		if err != nil {
			return "", fmt.Errorf("wrong: %w", err)
		}
		if n := strings.Count(string(source), e.Old); n != 1 {
			return "", fmt.Errorf("wrong: %s: its passage stands %d times in %s, not once; it has to follow the source", v.Name, n, e.File)
		}
		replace[path] = filepath.Join(dir, name+"-"+filepath.Base(e.File))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(source), e.Old, e.New, 1)), 0o600); err != nil {
			return "", fmt.Errorf("wrong: %w", err)
		}
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("wrong: %w", err)
	}
	file := filepath.Join(dir, name+".json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", fmt.Errorf("wrong: %w", err)
	}
	return file, nil
}
