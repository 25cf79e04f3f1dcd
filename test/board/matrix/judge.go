package matrix

import (
	"fmt"

	"uringhttpd/test/board/client"
)

// An Outcome is what came of a cell.
type Outcome struct {
	Cell       Cell
	Options    client.Options
	Result     client.Result
	InKernel   int64 // how often kernel TLS was switched on
	PendingMax int64 // the most bytes that a connection had inside kernel TLS; 0 if none was logged
	Queued     int64 // the most bytes that were seen in a connection's send queue
	RSS        int64 // the most memory that the server was seen to have, in bytes
	Threads    int   // the most that it was seen to have, io_uring's included
}

// MaxPending is what a connection may have inside kernel TLS, in bytes: the daemon's
// gate and one push, 192 KiB, what records add, and what the client acknowledges
// while the meter is read, which it then counts as not sent.
const MaxPending = 300 << 10

// What a connection may make the kernel hold, limits.buffer, in bytes; and how many
// threads a server may have.
const (
	MaxHeld    = 2 << 20
	MaxThreads = 32
)

// Hangs is how many downloads, or ends of connections, did not come in time.
func (o Outcome) Hangs() int { return o.Result.Errors["timeout"] + o.Result.Ends["timeout"] }

// Faults says what is wrong with an outcome; nothing if all is well.
func (o Outcome) Faults() []string {
	var faults []string
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	r, n := o.Result, o.Options.Downloads
	expect(r.Corrupt == 0, "%d downloads have wrong bytes", r.Corrupt)
	expect(r.Silently == 0, "%d downloads are short and ended as if they were whole", r.Silently)
	expect(o.Hangs() == 0, "%d hang", o.Hangs())
	expect(o.PendingMax <= MaxPending, "%d bytes were inside kernel TLS, which is above %d", o.PendingMax, MaxPending)
	expect(o.Queued+o.PendingMax <= MaxHeld, "%d bytes were in a send queue and %d inside kernel TLS, which is above %d", o.Queued, o.PendingMax, MaxHeld)
	expect(o.Threads <= MaxThreads, "%d threads, which is above %d", o.Threads, MaxThreads)
	switch {
	case o.Options.Leave != "":
		expect(r.Complete+r.Left == n, "%d complete and %d left, of %d", r.Complete, r.Left, n)
		expect(r.Left > 0, "no client left")
	case o.Options.Silent:
		expect(r.Complete+r.Truncated == n && r.Ends["reset"] == r.Truncated, "%d complete, %d cut, %d resets, of %d", r.Complete, r.Truncated, r.Ends["reset"], n)
	default:
		expect(r.Complete == n, "%d complete of %d", r.Complete, n)
	}
	if o.orderly() {
		expect(r.Ends["close_notify"] == r.Connections, "%d of %d connections ended with close_notify", r.Ends["close_notify"], r.Connections)
	}
	most := int64(r.Connections)
	if !o.Cell.InKernel() {
		most = 0
	}
	least := most
	if o.Options.Leave != "" || o.Options.Then == client.HalfClose {
		// Whom the server finds to have left, or to have closed its side, is not
		// for the kernel. Who leaves in the handshake is no connection here, nor is
		// the one that is made after those who left.
		least, most = 0, most+int64(r.Left)+1
	}
	if !o.Cell.InKernel() {
		most = 0
	}
	if o.Cell.Engine != "sync" {
		// A daemon that waits long for an engine has it tested, over connections
		// of its own.
		most = max(most, o.InKernel)
	}
	expect(least <= o.InKernel && o.InKernel <= most, "kernel TLS was switched on %d times for %d connections", o.InKernel, r.Connections)
	return faults
}

// orderly reports whether each connection must end with close_notify.
func (o Outcome) orderly() bool {
	return o.Options.Leave == "" && !o.Options.Silent && !o.Options.KeepAlive
}
