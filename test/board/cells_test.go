//go:build board

package board_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/matrix"
	"uringhttpd/test/board/wire"
	"uringhttpd/test/caamsim"
)

// cellConfig serves over kernel TLS where the kernel can, and from user space elsewhere. A
// silent client soon loses its connection; a client that waits for a slow board does not.
var cellConfig = fmt.Sprintf(`listen:
  - address: ":8443"
    tls: true
  - address: ":8080"
root: /srv
tls:
  certificate: cert.pem
  key: key.pem
  cipher: aes-gcm
limits:
  header_timeout: 2m
  idle_timeout: 2m
  stall_timeout: %v
log: {level: debug}
`, matrix.StallTimeout)

// lookTime is the interval between two measurements of a server.
const lookTime = time.Second

// cellModules are the modules that a machine needs for its cells.
func cellModules(b board.Board, e board.Engine) []string {
	modules := []string{"sch_netem"}
	if e == board.Sync {
		modules = append(modules, b.ChaChaModules()...)
	}
	return modules
}

// lossy is the network that drops and delays packets. Packets of loopback have up to 64 KiB.
var lossy = wire.Netem{Loss: 0.02, Delay: 3 * time.Millisecond, Jitter: 2 * time.Millisecond}

// A cellRunner runs cells against one server of a machine.
type cellRunner struct {
	m      *board.Machine
	p      *board.Process
	port   int
	effort int // divides the downloads
	idle   int // sockets of the server without connections; 0 if not known
	files  map[string]bool
	logged int64 // bytes of the server's log that have been read
}

// skipLog skips the present log of the server.
func (c *cellRunner) skipLog(ctx context.Context) error {
	_, err := c.pending(ctx)
	return err
}

// run runs one cell.
func (c *cellRunner) run(ctx context.Context, cell matrix.Cell) (o matrix.Outcome, err error) {
	file, options := cell.Plan(c.effort)
	if !c.files[file.Path] {
		if err := c.m.MakeFile(ctx, board.Root+file.Path, file.Content); err != nil {
			return o, err
		}
		c.files[file.Path] = true
	}
	if cell.Sharp() {
		restore, err := c.m.SetSysctl(ctx, "net.ipv4.tcp_wmem", "4096 16384 16384")
		if err != nil {
			return o, err
		}
		defer func() {
			if rerr := restore(); err == nil {
				err = rerr
			}
		}()
	}
	if cell.Lossy() {
		if err := c.m.Netem(ctx, lossy); err != nil {
			return o, err
		}
		defer func() {
			if rerr := c.m.Netem(ctx, wire.Netem{}); err == nil {
				err = rerr
			}
		}()
	}
	if c.m.Spec.Engine == board.CAAM {
		depth := strconv.Itoa(cell.Depth())
		if err := c.m.WriteFile(ctx, caamsim.Parameters+"depth", []byte(depth), 0o644); err != nil {
			return o, err
		}
	}
	roots, err := c.m.Roots()
	if err != nil {
		return o, err
	}
	options.Address, options.Roots = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)), roots
	before, err := c.m.TLSStat(ctx)
	if err != nil {
		return o, err
	}
	o = matrix.Outcome{Cell: cell, Options: options}
	if err := c.download(ctx, &o); err != nil {
		return o, err
	}
	if options.Leave != "" {
		if err := c.settle(ctx, options); err != nil {
			return o, err
		}
	}
	after, err := c.m.TLSStat(ctx)
	if err != nil {
		return o, err
	}
	o.InKernel = after[board.TxSw] - before[board.TxSw]
	o.PendingMax, err = c.pending(ctx)
	return o, err
}

// download makes the downloads of the cell, and measures the server meanwhile, at least once.
func (c *cellRunner) download(ctx context.Context, o *matrix.Outcome) error {
	var derr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Result, derr = c.m.Download(ctx, o.Options)
	}()
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-tick.C:
		}
		u, err1 := c.p.Usage(ctx)
		mem, err2 := c.m.Memory(ctx)
		if err := errors.Join(err1, err2); err != nil {
			<-done
			return errors.Join(derr, err)
		}
		o.Threads, o.Queued, o.RSS = max(o.Threads, len(u.Threads)), max(o.Queued, mem.MaxQueued), max(o.RSS, u.RSS)
	}
	return derr
}

// settle waits until the server has accepted and closed all connections, including those of
// clients that left before the accept: a later download is complete, and no connection
// is left. Otherwise they would count for the next cell.
func (c *cellRunner) settle(ctx context.Context, o client.Options) error {
	o.Leave, o.Downloads, o.Parallel = "", 1, 1
	r, err := c.m.Download(ctx, o)
	if err != nil || r.Complete != 1 {
		return fmt.Errorf("a download behind clients that left: %+v, %w", r, err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		h, err := c.p.Held(ctx)
		if err != nil || c.idle == 0 || h.FDs["socket"] <= c.idle {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("connections that clients left: %w", ctx.Err())
		}
	}
}

var pendingMaxField = regexp.MustCompile(`pending_max=(\d+)`)

// pending returns the maximum that the server logged to have been pending inside kernel TLS
// since the last call.
func (c *cellRunner) pending(ctx context.Context) (most int64, err error) {
	e, err := c.p.Output(ctx)
	if err != nil {
		return 0, err
	}
	if e.Exited {
		return 0, fmt.Errorf("the server ended: status %d, signal %d:\n%s", e.Status, e.Signal, e.Stderr)
	}
	end := e.Dropped + int64(len(e.Stderr))
	fresh := e.Stderr[max(0, int64(len(e.Stderr))-(end-c.logged)):]
	c.logged = end
	for line := range bytes.Lines(fresh) {
		if f := pendingMaxField.FindSubmatch(line); f != nil {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				return 0, err
			}
			most = max(most, n)
		}
	}
	return most, nil
}

// retransmitted returns how many segments TCP has retransmitted since boot.
func retransmitted(ctx context.Context, t *testing.T, m *board.Machine) int64 {
	t.Helper()
	return tcpCounter(ctx, t, m, "/proc/net/snmp", "Tcp:", "RetransSegs")
}

// tcpCounter returns a counter of a file in /proc/net whose lines come in pairs, names and values,
// that begin with the same word.
func tcpCounter(ctx context.Context, t *testing.T, m *board.Machine, file, word, counter string) int64 {
	t.Helper()
	text, err := m.ReadFile(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != word {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		if i := slices.Index(names, counter); i >= 0 && i < len(f) {
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %s", counter, text)
	return 0
}
