//go:build board

package board_test

import (
	"context"
	"net"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/matrix"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/wrong"
)

// patientConfig has timeouts that slow clients on a slow board do not exceed.
const patientConfig = board.DefaultConfig + "limits: {header_timeout: 1h, idle_timeout: 1h, stall_timeout: 1h}\n"

// large is the file for slow readers and for clients that never read.
var large = struct {
	name    string
	content pattern.Content
}{"/large.bin", pattern.Content{Seed: 0xb0d5, Size: 8 << 20}}

// testBounds: clients that read slowly, or not at all, cost a bounded amount of memory, and
// no threads. n such clients do not keep the daemon from serving others.
func testBounds(ctx context.Context, t *testing.T, m *board.Machine, n int) {
	if err := m.MakeFile(ctx, board.Root+large.name, large.content); err != nil {
		t.Fatal(err)
	}
	for _, plain := range []bool{false, true} {
		how := map[bool]string{false: "TLS", true: "plain"}[plain]
		t.Run("never reads, "+how, func(t *testing.T) {
			if held := neverReads(ctx, t, m, plain, ""); held > matrix.MaxHeld {
				t.Errorf("the kernel holds %d bytes for a client that never reads, more than %d", held, matrix.MaxHeld)
			}
		})
		t.Run("wrong: "+wrong.OnlyPOLLOUT.Name+", "+how, func(t *testing.T) {
			if held := neverReads(ctx, t, m, plain, wrong.OnlyPOLLOUT.Name); held <= matrix.MaxHeld {
				t.Errorf("not caught: the kernel holds %d bytes", held)
			}
		})
	}
	t.Run("slow readers", func(t *testing.T) { testReaders(ctx, t, m, n) })
}

// options returns options of a client that the daemon takes for another machine.
func options(t *testing.T, m *board.Machine, plain bool) client.Options {
	t.Helper()
	roots, err := m.Roots()
	if err != nil {
		t.Fatal(err)
	}
	port := board.TLSPort
	if plain {
		port = board.PlainPort
	}
	return client.Options{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), From: board.OtherHost, Plain: plain, Roots: roots,
		Path: large.name, Content: &large.content, Timeout: time.Hour,
	}
}

// neverReads runs a client that requests a file and reads nothing of it, while the socket
// buffer may grow to more than the file, and returns the maximum that the kernel can hold for
// the client.
func neverReads(ctx context.Context, t *testing.T, m *board.Machine, plain bool, program string) int64 {
	t.Helper()
	restore, err := m.SetSysctl(ctx, "net.ipv4.tcp_wmem", "4096 16777216 16777216")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := restore(); err != nil {
			t.Error(err)
		}
	}()
	p, err := m.StartDaemon(ctx, board.Daemon{Wrong: program, Config: patientConfig})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, m, plain)
	o.ReadSize, o.Pause = 4<<10, time.Hour
	c, err := m.StartDownload(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	inTLS := 1
	if plain {
		inTLS = 0
	}
	mem := steady(ctx, t, m, 1, inTLS)
	end(ctx, t, c)
	pending := int64(0)
	if plain { // its log lines have no fields of kernel TLS
		if err := p.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	} else {
		pending = stop(ctx, t, p)
	}
	t.Logf("%d bytes in the socket's buffer, at most %d inside kernel TLS", mem.MaxQueued, pending)
	return mem.MaxQueued + pending
}

// steady waits until there are n connections, a given number of them in kernel TLS, and the
// send queues have stopped changing.
func steady(ctx context.Context, t *testing.T, m *board.Machine, n, inTLS int) board.Memory {
	t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last board.Memory
	for same := 0; ; {
		mem, err := m.Memory(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// Slow readers read a little all the time, and the daemon sends a little more.
		near := mem.Queued <= last.Queued+last.Queued/50 && mem.Queued+mem.Queued/50 >= last.Queued
		stat, err := m.TLSStat(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if mem.Sockets >= n && near && int(stat["TlsCurrTxSw"]) >= inTLS {
			same++
		} else {
			same = 0
		}
		if last = mem; same == 3 {
			return mem
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not steady: %+v", mem)
		}
	}
}

// end ends the clients.
func end(ctx context.Context, t *testing.T, clients ...*board.Process) {
	t.Helper()
	for _, c := range clients {
		if err := c.Signal(ctx, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		if _, err := c.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
}

var pendingOf = regexp.MustCompile(`pending_max=(\d+)`)

// stop stops a daemon, and returns the maximum of bytes inside kernel TLS on a connection, by
// its access log.
func stop(ctx context.Context, t *testing.T, p *board.Process) (most int64) {
	t.Helper()
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	e, err := p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := pendingOf.FindAllSubmatch(e.Stderr, -1)
	if len(found) == 0 {
		t.Fatalf("no pending_max in the log:\n%s", e.Stderr)
	}
	for _, f := range found {
		n, err := strconv.ParseInt(string(f[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, n)
	}
	return most
}

// testReaders: n clients, half of them over TLS, are idle; then n clients read slowly. A fast
// client gets its share beside both. A second crowd of slow readers leaves the board as the
// first did: a ring keeps as many requests (io_kiocb), with their messages (kmalloc-512 on
// ARM), as there ever were at once.
func testReaders(ctx context.Context, t *testing.T, m *board.Machine, n int) {
	p, err := m.StartDaemon(ctx, board.Daemon{Config: patientConfig})
	if err != nil {
		t.Fatal(err)
	}
	base := warm(ctx, t, m, p)
	before, err := m.Memory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("no clients: %+v", before)

	crowd := func(what string, change func(*client.Options)) (board.Memory, time.Duration) {
		t.Helper()
		var clients []*board.Process
		for _, plain := range []bool{false, true} {
			o := options(t, m, plain)
			o.Downloads, o.Parallel = n/2, n/2
			change(&o)
			c, err := m.StartDownload(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		start := time.Now()
		mem := steady(ctx, t, m, n, n/2)
		t.Logf("%d %s, after %v: %+v", n, what, time.Since(start).Round(time.Second), mem)
		t.Logf("%d %s: %d bytes of memory for each, client's included; %d of TCP's", n, what,
			(before.Available-mem.Available)/int64(n), (mem.TCP-before.TCP)/int64(n))
		took := fast(ctx, t, m)
		if mem, err = m.Memory(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d %s, with the fast client: %+v", n, what, mem)
		u, err := p.Usage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d %s: a fast client takes %v; the daemon has %d threads and %d bytes", n, what, took, len(u.Threads), u.RSS)
		if len(u.Threads) > matrix.MaxThreads {
			t.Errorf("%d threads: %q", len(u.Threads), u.Threads)
		}
		end(ctx, t, clients...)
		return mem, took
	}
	small := pattern.Content{Seed: 1, Size: 1000}
	if err := m.MakeFile(ctx, board.Root+"/small.bin", small); err != nil {
		t.Fatal(err)
	}
	_, idle := crowd("idle clients", func(o *client.Options) {
		o.Path, o.Content, o.KeepAlive, o.Stay = "/small.bin", &small, true, true
	})
	slowly := func(o *client.Options) { o.ReceiveBuffer, o.ReadSize, o.Pause = 4096, 4096, 4*time.Second }
	crowd("first slow readers", slowly)
	base.Slab = nil
	if base, err = p.AwaitHeld(ctx, base, 2*leakPatience); err != nil {
		t.Fatal(err)
	}
	mem, slow := crowd("slow readers", slowly)
	// Slow readers need some of the processor, too. The limit is far below the ratio at which
	// they block other clients.
	const starved = 20
	ratio := slow.Seconds() / idle.Seconds()
	t.Logf("beside %d slow readers a fast client takes %.2f times as long as beside as many idle clients", n, ratio)
	if ratio > starved {
		t.Errorf("a fast client is %.1f times slower beside slow readers", ratio)
	}
	if _, err := p.AwaitHeld(ctx, base, 2*leakPatience); err != nil {
		t.Error(err)
	}
	after, err := m.Memory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("no clients again: %+v", after)
	if pending := stop(ctx, t, p); mem.MaxQueued+pending > matrix.MaxHeld {
		t.Errorf("the kernel holds %d bytes for a connection, %d of them inside kernel TLS", mem.MaxQueued+pending, pending)
	} else {
		t.Logf("at most %d bytes are in a connection's send queue, and %d inside kernel TLS", mem.MaxQueued, pending)
	}
}

// fast returns the time that a client needs that reads as fast as it can, as the median of
// three.
func fast(ctx context.Context, t *testing.T, m *board.Machine) time.Duration {
	t.Helper()
	const name = "/fast.bin"
	content := pattern.Content{Seed: 0xfa57, Size: 2 << 20}
	if err := m.MakeFile(ctx, board.Root+name, content); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for range 3 {
		start := time.Now()
		for _, plain := range []bool{false, true} {
			o := options(t, m, plain)
			o.Path, o.Content = name, &content
			r, err := m.Download(ctx, o)
			if err != nil || r.Complete != 1 {
				t.Fatalf("a fast client: %+v, %v", r, err)
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[1].Round(time.Millisecond)
}

// readers is the number of clients that test a board. Handshakes are slow where Go has no
// assembly for the processor's arithmetic.
func readers(b board.Board) int {
	switch {
	case !*fullFlag:
		return 200
	case b == board.ARMv7_612 || b == board.AArch32_612:
		return 300
	}
	return 1000
}
