//go:build board

package board_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/caamsim"
)

// testStall: what is lost when the engine completes nothing any more. Nothing is
// promised about that yet, so what the daemon loses is logged, not judged; but no
// client is told that it has everything, and when the engine goes again, all is well.
func testStall(ctx context.Context, t *testing.T, m *board.Machine) {
	t.Run("killed", func(t *testing.T) { testStallKilled(ctx, t, m) })
	t.Run("at the start", func(t *testing.T) { testStallStart(ctx, t, m) })
	t.Run("a full ring", func(t *testing.T) { testStallFull(ctx, t, m) })
}

// testStallKilled: the bounded workers of io_uring, 4 for each processor, close dead
// connections for ever. While there is one left, others are served. A daemon that is
// killed then does not end, and its listeners stay.
func testStallKilled(ctx context.Context, t *testing.T, m *board.Machine) {
	const few, more = 3, 6 // one less than the workers; and more than those
	d := stall(ctx, t, m, few)
	if !d.plain(ctx, t, "few dead connections") {
		t.Error("plain HTTP does not go on")
	}
	t.Logf("%d more over TLS: %+v", more, d.download(ctx, t, board.TLSPort, more, 5*time.Second))
	d.look(ctx, t, "many dead connections")
	d.plain(ctx, t, "many dead connections")
	d.remote(ctx, t, "many dead connections")

	if err := d.p.Signal(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Logf("killed: %v", ended(ctx, d.p))
	d.look(ctx, t, "killed")
	d.sockets(ctx, t)

	d.revive(ctx, t)
	if err := ended(ctx, d.p); !strings.Contains(err.Error(), "signal 9") {
		t.Errorf("the engine goes again: %v, want the daemon killed", err)
	}
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err != nil {
		t.Fatal(err)
	}
	if r := d.download(ctx, t, board.TLSPort, 1, time.Minute); r.Complete != 1 {
		t.Errorf("the engine goes again, and a new daemon: %+v", r)
	}
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// testStallStart: a daemon that is started with a dead engine.
func testStallStart(ctx context.Context, t *testing.T, m *board.Machine) {
	tune(ctx, t, m, "stall=1")
	before := counters(ctx, t, m)
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p, err := m.StartDaemon(short, board.Daemon{})
	t.Logf("a daemon that is started: %v; engine %v, %v before", err, counters(ctx, t, m), before)
	(&dead{m: m}).revive(ctx, t)
	if p != nil {
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
}

// testStallFull: a send of whole records into a full ring waits inside the kernel,
// with MSG_MORE too, with which it is made on the loop's thread. Such are the parts of
// an answer of several ranges.
func testStallFull(ctx context.Context, t *testing.T, m *board.Machine) {
	tune(ctx, t, m, "depth=1")
	d := stall(ctx, t, m, 1)
	d.plain(ctx, t, "one dead connection")
	addr, err := m.Forward(ctx, board.TLSPort)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.roots)
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := counters(ctx, t, m)["backlogged"]
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-39999,50000-89999\r\n\r\n", d.name); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "one more request in the backlog", func() bool { return counters(ctx, t, m)["backlogged"] > before })
	d.look(ctx, t, "several ranges")
	d.plain(ctx, t, "several ranges")

	d.revive(ctx, t)
	if !d.plain(ctx, t, "the engine goes again") {
		t.Error("the engine goes again, and plain HTTP does not")
	}
	if err := d.p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// A dead is a daemon whose engine completes nothing any more.
type dead struct {
	m       *board.Machine
	p       *board.Process
	name    string
	content pattern.Content
	roots   []byte
}

// stall starts a daemon, stops the engine under n downloads, and returns when their
// clients have given up.
func stall(ctx context.Context, t *testing.T, m *board.Machine, n int) *dead {
	t.Helper()
	d := &dead{m: m, name: "/stall.bin", content: pattern.Content{Seed: 0x57a1, Size: 8 << 20}}
	if err := m.MakeFile(ctx, board.Root+d.name, d.content); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.roots, err = m.Roots(); err != nil {
		t.Fatal(err)
	}
	config := board.DefaultConfig + "limits:\n  stall_timeout: 3s\n"
	if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: config}); err != nil {
		t.Fatal(err)
	}
	before := counters(ctx, t, m)
	var clients sync.WaitGroup
	clients.Add(1)
	go func() {
		defer clients.Done()
		r := d.download(ctx, t, board.TLSPort, n, 10*time.Second)
		t.Logf("%d downloads in flight: %+v", n, r)
		if r.Errors["timeout"]+r.Truncated != n || r.Ends["close_notify"] != 0 {
			t.Errorf("got %+v, want none complete, or ended as if it were", r)
		}
	}()
	eventually(ctx, t, "a request in flight", func() bool {
		c := counters(ctx, t, m)
		return c["requests"]-before["requests"] > 20*n && c["in_flight"] > 0
	})
	tune(ctx, t, m, "stall=1")
	clients.Wait()
	d.look(ctx, t, "clients gone")
	return d
}

// download makes n downloads at once from one of the daemon's ports, over TLS slowly.
func (d *dead) download(ctx context.Context, t *testing.T, port, n int, timeout time.Duration) client.Result {
	t.Helper()
	o := client.Options{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: d.name, Plain: port == board.PlainPort, Roots: d.roots,
		Downloads: n, Parallel: n, Content: &d.content, Timeout: timeout,
	}
	if !o.Plain {
		o.ReadSize, o.Pause = 4096, 4*time.Millisecond
	}
	r, err := d.m.Download(ctx, o)
	if err != nil {
		t.Error(err)
	}
	return r
}

// plain tells whether a download over plain HTTP is complete.
func (d *dead) plain(ctx context.Context, t *testing.T, when string) bool {
	t.Helper()
	r := d.download(ctx, t, board.PlainPort, 1, 15*time.Second)
	t.Logf("%s, plain HTTP: %+v", when, r)
	return r.Complete == 1
}

// remote makes the download of plain from the host: the daemon splices to clients of
// other machines, and reads for those of its own.
func (d *dead) remote(ctx context.Context, t *testing.T, when string) {
	t.Helper()
	addr, err := d.m.Forward(ctx, board.PlainPort)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Run(ctx, client.Options{Address: addr, Path: d.name, Plain: true, Content: &d.content, Timeout: 10 * time.Second})
	t.Logf("%s, plain HTTP from the host: %+v, %v", when, r, err)
}

// look logs what the daemon holds, and where in the kernel its threads wait.
func (d *dead) look(ctx context.Context, t *testing.T, when string) {
	t.Helper()
	u, err := d.p.Usage(ctx)
	if err != nil {
		t.Logf("%s: %v", when, err)
		return
	}
	sockets := 0
	for _, fd := range u.FDs {
		if strings.Contains(fd, "socket:") {
			sockets++
		}
	}
	waits := map[string]int{}
	for _, stack := range u.Workers {
		var functions []string
		for _, line := range strings.Split(strings.TrimSpace(stack), "\n")[1:] {
			f, _, _ := strings.Cut(strings.TrimPrefix(line, "[<0>] "), "+")
			functions = append(functions, f)
		}
		waits[strings.Join(functions, " ")]++
	}
	t.Logf("%s: engine %v; %d sockets have descriptors, %d threads", when, counters(ctx, t, d.m), sockets, len(u.Threads))
	for where, n := range waits {
		t.Logf("%s: %d in %s", when, n, where)
	}
}

// sockets logs how many sockets of the daemon's ports there are, by state
// (include/net/tcp_states.h): 01 established, 08 closed by the client, 0A listening.
func (d *dead) sockets(ctx context.Context, t *testing.T) {
	t.Helper()
	table, err := d.m.ReadFile(ctx, "/proc/net/tcp6")
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		states[strings.Fields(line)[3]]++
	}
	t.Logf("sockets by state: %v", states)
}

// revive lets the engine go again, and waits until it has done what has piled up.
func (d *dead) revive(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := d.m.WriteFile(ctx, caamsim.Parameters+"stall", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "an engine with nothing to do", func() bool { return counters(ctx, t, d.m)["in_flight"] == 0 })
}

// ended says how a process ended, or that it did not soon.
func ended(ctx context.Context, p *board.Process) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	e, err := p.Wait(ctx)
	if err == nil {
		err = fmt.Errorf("ended with status %d, signal %d", e.Status, e.Signal)
	}
	return err
}
