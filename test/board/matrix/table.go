package matrix

import (
	"fmt"
	"strings"
)

// A Line is the row of a table for a machine, or for a server on a machine.
type Line struct {
	Machine   string
	Server    string // "" is the unchanged daemon
	Cells     int
	Downloads int
	Complete  int
	Left      int // ended by their clients, on purpose
	Cut       int // short, by a reset or another error
	Silently  int // short, by close_notify or a FIN
	Corrupt   int
	Hangs     int
	Other     int // without a body
	Bytes     int64
	Pending   int64 // maximum of a connection's bytes inside kernel TLS
	Queued    int64 // maximum measured in a connection's send queue, in bytes
	RSS       int64 // maximum measured of the server's memory, in bytes
	Threads   int   // maximum measured
	Faulty    int   // cells with a fault
}

// Add adds the outcome of a cell.
func (l *Line) Add(o Outcome) {
	r := o.Result
	l.Cells++
	l.Complete += r.Complete
	l.Left += r.Left
	l.Cut += r.Truncated - r.Silently
	l.Silently += r.Silently
	l.Corrupt += r.Corrupt
	l.Hangs += o.Hangs()
	for kind, n := range r.Errors {
		if kind != "timeout" {
			l.Other += n
		}
	}
	l.Downloads = l.Complete + l.Left + l.Cut + l.Silently + l.Corrupt + l.Hangs + l.Other
	l.Bytes += r.Bytes
	l.Pending, l.Queued = max(l.Pending, o.PendingMax), max(l.Queued, o.Queued)
	l.RSS, l.Threads = max(l.RSS, o.RSS), max(l.Threads, o.Threads)
	if len(o.Faults()) > 0 {
		l.Faulty++
	}
}

// plus adds the counts of another line.
func (l Line) plus(m Line) Line {
	l.Cells += m.Cells
	l.Downloads += m.Downloads
	l.Complete += m.Complete
	l.Left += m.Left
	l.Cut += m.Cut
	l.Silently += m.Silently
	l.Corrupt += m.Corrupt
	l.Hangs += m.Hangs
	l.Other += m.Other
	l.Bytes += m.Bytes
	l.Pending, l.Queued = max(l.Pending, m.Pending), max(l.Queued, m.Queued)
	l.RSS, l.Threads = max(l.RSS, m.RSS), max(l.Threads, m.Threads)
	l.Faulty += m.Faulty
	return l
}

// Table returns the lines as Markdown, with a sum.
func Table(lines []Line) string {
	var b strings.Builder
	b.WriteString("| machine | server | cells | downloads | complete | left by the client | cut by an error | truncated, ended in order | corrupt | hangs | other errors | MiB | most pending | most queued | most memory, MiB | most threads | cells with a fault |\n")
	b.WriteString("| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n")
	sum := Line{Machine: "all"}
	for _, l := range lines {
		l.write(&b)
		sum = sum.plus(l)
	}
	if len(lines) > 1 {
		sum.write(&b)
	}
	return b.String()
}

func (l Line) write(b *strings.Builder) {
	fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %.1f | %d | %d | %.1f | %d | %d |\n",
		l.Machine, l.Server, l.Cells, l.Downloads, l.Complete, l.Left, l.Cut, l.Silently, l.Corrupt, l.Hangs, l.Other,
		float64(l.Bytes)/(1<<20), l.Pending, l.Queued, float64(l.RSS)/(1<<20), l.Threads, l.Faulty)
}
