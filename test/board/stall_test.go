//go:build board

package board_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/matrix"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/caamsim"
)

// testStall: an engine that stops completing requests costs only the connections that use it:
// the loop continues, no more keys are installed in the engine, the log reports it once, and a
// restarted daemon does not use it. No client takes its download for complete.
func testStall(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	t.Run("few", func(t *testing.T) { testStalled(ctx, t, m, 3) })
	if effort == brief {
		return
	}
	t.Run("many", func(t *testing.T) { testStalled(ctx, t, m, 48) })
	t.Run("at the start", func(t *testing.T) { testStallStart(ctx, t, m) })
	t.Run("full ring", func(t *testing.T) { testStallFull(ctx, t, m) })
}

// autoConfig uses kernel TLS where possible.
var autoConfig = strings.Replace(board.DefaultConfig, "kernel: require", "kernel: auto", 1) + "metrics: {address: \":9100\"}\n"

const metricsPort = 9100

// testStalled: n downloads are in flight when the engine dies. Then the daemon is stopped: it
// closes its listeners, and another daemon takes its place.
func testStalled(ctx context.Context, t *testing.T, m *board.Machine, n int) {
	d := stall(ctx, t, m, n)
	d.awaitVerdict(ctx, t)
	d.serves(ctx, t, "the engine is dead")
	d.look(ctx, t, "the engine is dead")
	e, err := d.p.Output(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(e.Stderr), engineVerdict); got != 1 {
		t.Errorf("the log reports the dead engine %d times, want once:\n%s", got, e.Stderr)
	}
	if got := strings.Count(string(e.Stderr), "connection lost in the crypto engine"); got == 0 || got > n+leavers+shortDownloads {
		t.Errorf("%d connections are orphaned, want 1 to %d", got, n+leavers+shortDownloads)
	}

	if text := d.metrics(ctx, t); !strings.Contains(text, "\nuringhttpd_crypto_engine_dead 1\n") || strings.Contains(text, "\nuringhttpd_connections_lost 0\n") {
		t.Errorf("the metrics do not report it:\n%s", text)
	}

	if err := d.p.Signal(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "listeners closed", func() bool { return d.sockets(ctx, t)[listening] == 0 })
	old := d.p
	if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: autoConfig}); err != nil {
		t.Fatal(err)
	}
	d.serves(ctx, t, "restarted")

	d.revive(ctx, t)
	t.Logf("the engine continues; the first daemon: %v", ended(ctx, t, old))
	d.serves(ctx, t, "the engine continues")
	if err := d.p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// testStallStart: a daemon that is started with a dead engine does not use it; if its
// configuration requires kernel TLS, it does not start.
func testStallStart(ctx context.Context, t *testing.T, m *board.Machine) {
	d := newDead(ctx, t, m)
	tune(ctx, t, m, "stall=1")
	var err error
	if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: autoConfig}); err != nil {
		t.Fatal(err)
	}
	d.serves(ctx, t, "started")
	testDoctorQuarantine(ctx, t, m, "no answer")
	if err := d.p.Stop(ctx); err != nil {
		t.Error(err)
	}
	p, err := m.StartDaemon(ctx, board.Daemon{})
	if err == nil {
		t.Error("the daemon requires kernel TLS, and started")
		p.Stop(ctx)
	} else if !strings.Contains(err.Error(), "no answer in time") || !strings.Contains(err.Error(), "require") {
		t.Errorf("the daemon requires kernel TLS: got %v; want the reason for which it cannot use it", err)
	}
	d.revive(ctx, t)
}

// testStallFull: a send of whole records into a full ring waits inside the kernel, even with
// MSG_MORE. The parts of a response of several ranges are such sends.
func testStallFull(ctx context.Context, t *testing.T, m *board.Machine) {
	tune(ctx, t, m, "depth=1")
	d := stall(ctx, t, m, 1)
	addr, err := m.Forward(ctx, board.TLSPort)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.roots)
	if conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "localhost"}); err != nil {
		t.Error(err)
	} else {
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-39999,50000-89999\r\n\r\n", d.name)
	}
	if !d.plain(ctx, t, "several ranges") {
		t.Error("plain HTTP does not go on")
	}
	d.awaitVerdict(ctx, t)
	d.serves(ctx, t, "the engine is dead")
	d.look(ctx, t, "the engine is dead")
	d.revive(ctx, t)
	d.serves(ctx, t, "the engine continues")
	if err := d.p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// A dead is a daemon whose engine has stopped completing requests.
type dead struct {
	m       *board.Machine
	p       *board.Process
	name    string
	content pattern.Content
	roots   []byte
}

// shortName is a file so short that an emulated processor encrypts it at once.
const shortName = "/short.bin"

var shortContent = pattern.Content{Seed: 0x5407, Size: 40 << 10}

// leavers is the number of operations that may wait for the engine.
const leavers = 4

// shortDownloads is more than the number of system calls that may wait.
const shortDownloads = 8

// short returns d with the short file.
func (d *dead) short() *dead {
	s := *d
	s.name, s.content = shortName, shortContent
	return &s
}

// newDead prepares a test of a dead engine, before the engine stops.
func newDead(ctx context.Context, t *testing.T, m *board.Machine) *dead {
	t.Helper()
	d := &dead{m: m, name: "/stall.bin", content: pattern.Content{Seed: 0x57a1, Size: 8 << 20}}
	if err := m.MakeFile(ctx, board.Root+d.name, d.content); err != nil {
		t.Fatal(err)
	}
	if err := m.MakeFile(ctx, board.Root+shortName, shortContent); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.roots, err = m.Roots(); err != nil {
		t.Fatal(err)
	}
	return d
}

// stall starts a daemon, stops the engine during n downloads, and returns when their clients
// have given up or were reset.
func stall(ctx context.Context, t *testing.T, m *board.Machine, n int) *dead {
	t.Helper()
	d := newDead(ctx, t, m)
	var err error
	if d.p, err = m.StartDaemon(ctx, board.Daemon{Config: autoConfig}); err != nil {
		t.Fatal(err)
	}
	before := counters(ctx, t, m)
	var clients sync.WaitGroup
	clients.Add(1)
	go func() {
		defer clients.Done()
		r := d.download(ctx, t, board.TLSPort, n, 4*time.Millisecond, 40*time.Second)
		t.Logf("%d downloads in flight: %+v", n, r)
		if r.Complete != 0 || r.Corrupt != 0 || r.Ends["close_notify"] != 0 {
			t.Errorf("got %+v, want none complete, or ended as if complete", r)
		}
	}()
	// These clients leave between the engine's death and its detection: their sockets are closed.
	clients.Add(1)
	go func() {
		defer clients.Done()
		r := d.download(ctx, t, board.TLSPort, leavers, 4*time.Millisecond, 12*time.Second)
		if r.Complete != 0 || r.Corrupt != 0 || r.Ends["close_notify"] != 0 {
			t.Errorf("of leaving clients: %+v, want none complete, or ended as if complete", r)
		}
	}()
	eventually(ctx, t, "a request in flight", func() bool {
		c := counters(ctx, t, m)
		return c["requests"]-before["requests"] > 10*(n+leavers) && c["in_flight"] > 0
	})
	tune(ctx, t, m, "stall=1")
	// As many connections as can wait for the engine inside a system call.
	clients.Add(1)
	go func() {
		defer clients.Done()
		r := d.short().download(ctx, t, board.TLSPort, shortDownloads, 0, 40*time.Second)
		t.Logf("%d downloads from a dead engine: %+v", shortDownloads, r)
		if r.Complete != 0 || r.Corrupt != 0 || r.Ends["close_notify"] != 0 {
			t.Errorf("got %+v, want none complete, or ended as if complete", r)
		}
	}()
	if !d.plain(ctx, t, "the engine has just died") {
		t.Error("plain HTTP does not go on")
	}
	clients.Wait()
	return d
}

// engineVerdict is the message that the log has once.
const engineVerdict = "crypto engine does not answer: kernel TLS is disabled"

// awaitVerdict waits until the daemon has declared the engine dead.
func (d *dead) awaitVerdict(ctx context.Context, t *testing.T) {
	t.Helper()
	eventually(ctx, t, "the daemon's verdict on the engine", func() bool {
		e, err := d.p.Output(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(e.Stderr), engineVerdict)
	})
}

// serves checks that clients are served, over TLS too, and that the engine gets no requests.
func (d *dead) serves(ctx context.Context, t *testing.T, when string) {
	t.Helper()
	before := counters(ctx, t, d.m)
	if !d.plain(ctx, t, when) {
		t.Errorf("%s: plain HTTP does not go on", when)
	}
	d.remote(ctx, t, when)
	const n = 6
	if r := d.short().download(ctx, t, board.TLSPort, n, 0, time.Minute); r.Complete != n {
		t.Errorf("%s: TLS does not go on: %+v", when, r)
	}
	if after := counters(ctx, t, d.m); after["requests"] != before["requests"] {
		t.Errorf("%s: the engine got %d more requests, want none", when, after["requests"]-before["requests"])
	}
	u, err := d.p.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Threads) > matrix.MaxThreads {
		t.Errorf("%s: %d threads, want at most %d", when, len(u.Threads), matrix.MaxThreads)
	}
}

// download makes n simultaneous downloads from one of the daemon's ports; with a pause, the
// clients are slow.
func (d *dead) download(ctx context.Context, t *testing.T, port, n int, pause, timeout time.Duration) client.Result {
	t.Helper()
	o := client.Options{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: d.name, Plain: port == board.PlainPort, Roots: d.roots,
		Downloads: n, Parallel: n, Content: &d.content, Timeout: timeout,
	}
	if pause > 0 {
		o.ReadSize, o.Pause = 4096, pause
	}
	r, err := d.m.Download(ctx, o)
	if err != nil {
		t.Error(err)
	}
	return r
}

// plain reports whether a download over plain HTTP is complete.
func (d *dead) plain(ctx context.Context, t *testing.T, when string) bool {
	t.Helper()
	r := d.download(ctx, t, board.PlainPort, 1, 0, 30*time.Second)
	t.Logf("%s, plain HTTP: %+v", when, r)
	return r.Complete == 1
}

// remote makes the download of plain from the host: the daemon splices to clients on other
// machines, and reads and sends for clients on its own.
func (d *dead) remote(ctx context.Context, t *testing.T, when string) {
	t.Helper()
	addr, err := d.m.Forward(ctx, board.PlainPort)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Run(ctx, client.Options{Address: addr, Path: d.name, Plain: true, Content: &d.content, Timeout: 10 * time.Second})
	if err != nil || r.Complete != 1 {
		t.Errorf("%s, plain HTTP from the host: %+v, %v", when, r, err)
	}
}

// look logs the daemon's resources, and where in the kernel its threads wait.
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
			if f, ok := strings.CutPrefix(line, "[<0>] "); ok {
				f, _, _ = strings.Cut(f, "+")
				functions = append(functions, f)
			}
		}
		waits[strings.Join(functions, " ")]++
	}
	t.Logf("%s: engine %v; %d sockets have descriptors, %d threads", when, counters(ctx, t, d.m), sockets, len(u.Threads))
	for where, n := range waits {
		t.Logf("%s: %d in %s", when, n, where)
	}
}

// metrics returns the daemon's metrics.
func (d *dead) metrics(ctx context.Context, t *testing.T) string {
	t.Helper()
	addr, err := d.m.Forward(ctx, metricsPort)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// listening is the state of a listening socket (include/net/tcp_states.h).
const listening = "0A"

// sockets returns the number of sockets on the daemon's ports by state.
func (d *dead) sockets(ctx context.Context, t *testing.T) map[string]int {
	t.Helper()
	table, err := d.m.ReadFile(ctx, "/proc/net/tcp6")
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		states[strings.Fields(line)[3]]++
	}
	return states
}

// revive lets the engine continue, and waits until it has completed all waiting requests.
func (d *dead) revive(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := d.m.WriteFile(ctx, caamsim.Parameters+"stall", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "an engine with nothing to do", func() bool { return counters(ctx, t, d.m)["in_flight"] == 0 })
}

// ended describes how a process ended, and fails if the process does not end.
func ended(ctx context.Context, t *testing.T, p *board.Process) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	e, err := p.Wait(ctx)
	if err != nil {
		t.Error(err)
	}
	return fmt.Sprintf("status %d, signal %d, its last words:\n%s", e.Status, e.Signal, e.Stderr[max(0, len(e.Stderr)-2000):])
}
