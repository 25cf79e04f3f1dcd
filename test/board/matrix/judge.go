package matrix

import (
	"fmt"

	"uringhttpd/test/board/client"
)

// An Outcome is the result of a cell.
type Outcome struct {
	Cell       Cell
	Options    client.Options
	Result     client.Result
	InKernel   int64 // how often kernel TLS was enabled
	PendingMax int64 // maximum of a connection's bytes inside kernel TLS; 0 if none was logged
	Queued     int64 // maximum measured in a connection's send queue, in bytes
	RSS        int64 // maximum measured of the server's memory, in bytes
	Threads    int   // maximum measured, including io_uring's threads
}

// MaxPending is the maximum of a connection's bytes inside kernel TLS: the daemon's limit, which
// includes the push that follows a reading of the meter and the overhead of its records.
const MaxPending = 192 << 10

// The limit for the bytes that the kernel holds for a connection, limits.buffer, and the limit
// for a server's threads.
const (
	MaxHeld    = 2 << 20
	MaxThreads = 32
)

// Hangs returns how many downloads, or ends of connections, did not come in time.
func (o Outcome) Hangs() int { return o.Result.Errors["timeout"] + o.Result.Ends["timeout"] }

// Faults returns the faults of an outcome, or nothing.
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
		// A connection whose client has already left, or closed its side, gets no kernel TLS. A
		// client that leaves in the handshake is not counted in Connections, nor is the
		// connection that is made after the clients that left.
		least, most = 0, most+int64(r.Left)+1
	}
	if !o.Cell.InKernel() {
		most = 0
	}
	if o.Cell.Engine != "sync" {
		// A daemon that waits long for an engine tests it over connections of its own.
		most = max(most, o.InKernel)
	}
	expect(least <= o.InKernel && o.InKernel <= most, "kernel TLS was enabled %d times for %d connections", o.InKernel, r.Connections)
	return faults
}

// orderly reports whether each connection must end with close_notify.
func (o Outcome) orderly() bool {
	return o.Options.Leave == "" && !o.Options.Silent && !o.Options.KeepAlive
}
