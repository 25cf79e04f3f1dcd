package board

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Memory is a board's available memory, and the memory that its kernel holds for the
// daemon's connections. All fields except Sockets and Sending are in
// bytes.
type Memory struct {
	Available int64 // MemAvailable of /proc/meminfo
	Slab      int64 // Slab of the same file
	TCP       int64 // of all sockets, both ends, from /proc/net/sockstat
	Sockets   int   // open sockets on the daemon's ports
	Sending   int   // those whose send queues are not empty
	Queued    int64 // in their send queues: not sent, or not acknowledged
	MaxQueued int64 // the largest send queue
}

// Memory reads the memory counters of the board.
func (m *Machine) Memory(ctx context.Context) (mem Memory, err error) {
	text := map[string]string{}
	for _, name := range []string{"meminfo", "net/sockstat", "net/tcp", "net/tcp6"} {
		b, err := m.ReadFile(ctx, "/proc/"+name)
		if err != nil {
			return mem, err
		}
		text[name] = string(b)
	}
	pages, err1 := number(text["net/sockstat"], "TCP:", "mem")
	available, err2 := number(text["meminfo"], "MemAvailable:", "")
	slab, err3 := number(text["meminfo"], "Slab:", "")
	if err := errors.Join(err1, err2, err3); err != nil {
		return mem, err
	}
	const page, kilo = 4096, 1024 // on all boards
	mem.TCP, mem.Available, mem.Slab = pages*page, available*kilo, slab*kilo
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		queues, err := parseTCP(text[name])
		if err != nil {
			return mem, err
		}
		for _, q := range queues {
			if q.port == TLSPort || q.port == PlainPort {
				mem.Sockets++
				if q.bytes > 0 {
					mem.Sending++
				}
				mem.Queued += q.bytes
				mem.MaxQueued = max(mem.MaxQueued, q.bytes)
			}
		}
	}
	return mem, nil
}

// number finds the line that begins with title, and returns the number after name in it, or
// the first number if name is "".
func number(text, title, name string) (int64, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != title {
			continue
		}
		i := 1
		if name != "" {
			i = slices.Index(f, name) + 1
		}
		if i == 0 || i == len(f) {
			break
		}
		return strconv.ParseInt(f[i], 10, 64)
	}
	return 0, fmt.Errorf("board: no number %s %s in %q", title, name, text)
}

// A sendQueue is the send queue of a socket.
type sendQueue struct {
	port  int // local port
	bytes int64
}

// parseTCP reads the sockets that do not listen from /proc/net/tcp or tcp6
// (net/ipv4/tcp_ipv4.c).
func parseTCP(text string) ([]sendQueue, error) {
	const local, state, queues, listening = 1, 3, 4, "0A"
	var all []sendQueue
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines[1:] { // after the titles
		f := strings.Fields(line)
		if len(f) <= queues {
			return nil, fmt.Errorf("board: /proc/net/tcp: line %q", line)
		}
		_, port, _ := strings.Cut(f[local], ":")
		tx, _, _ := strings.Cut(f[queues], ":")
		p, err1 := strconv.ParseUint(port, 16, 16)
		n, err2 := strconv.ParseInt(tx, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("board: /proc/net/tcp: line %q: %w", line, err)
		}
		if f[state] != listening {
			all = append(all, sendQueue{int(p), n})
		}
	}
	return all, nil
}
