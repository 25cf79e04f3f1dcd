//go:build board

package board_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/debian"
	"uringhttpd/test/board/matrix"
	"uringhttpd/test/wrong"
)

// controlCells are cells in which servers that lose data are known to lose some, with
// small send buffers, and a cell in which memory piles up, with large buffers.
func controlCells(machine string) []matrix.Cell {
	kernel, engine := machine[:strings.LastIndexByte(machine, '-')], machine[strings.LastIndexByte(machine, '-')+1:]
	cell := func(tls, cipher, client, place, buffers string) matrix.Cell {
		return matrix.Cell{Kernel: kernel, Engine: engine, TLS: tls, Cipher: cipher, Client: client, Place: place, Buffers: buffers, Network: "plain"}
	}
	return []matrix.Cell{
		cell("1.3", "AES-128-GCM", "tiny buffer", "256 KiB + 1", "sharp"),
		cell("1.2", "AES-128-GCM", "zero window", "chunk and piece + 1", "sharp"),
		cell("1.3", "AES-256-GCM", "unread input", "256 KiB + 1", "sharp"),
		cell("1.3", "AES-128-GCM", "64 at once", "chunk and piece", "sharp"),
		cell("1.3", "AES-128-GCM", "fast", "2 MiB + 5", "default"),
	}
}

// A control is a server with a fault, or the daemon for comparison.
type control struct {
	name  string
	start func(ctx context.Context, m *board.Machine) (*board.Process, error)
	verdict
}

// A verdict is the expected result of a control.
type verdict struct {
	ok   func(matrix.Line) bool
	sync bool // run with a synchronous engine, too, where fewer records wait
}

// loses reports whether a server truncated a download.
func loses(l matrix.Line) bool { return l.Cut+l.Silently > 0 }

// pilesUp reports whether a connection had more bytes inside kernel TLS than allowed.
func pilesUp(l matrix.Line) bool { return l.Pending > matrix.MaxPending }

func fine(l matrix.Line) bool { return l.Faulty == 0 }

// controlVariants are mutants, with the verdict that must catch each.
var controlVariants = []struct {
	wrong.Variant
	verdict
}{
	{wrong.NoDrain, verdict{loses, false}},
	{wrong.NoLinger, verdict{loses, true}},
	{wrong.OnlyPOLLOUT, verdict{pilesUp, false}},
}

// TestControls runs the harness of TestMatrix with faulty servers. A server that is not
// caught shows that the matrix does not test sharply enough.
func TestControls(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var lines []matrix.Line
	t.Cleanup(func() {
		slices.SortStableFunc(lines, func(a, b matrix.Line) int { return strings.Compare(a.Machine, b.Machine) })
		text := fmt.Sprintf("Servers in the same cells, of which all but the daemon are wrong on purpose or known to be.\n\n%s", matrix.Table(lines))
		t.Log("\n" + text)
		if *controlsFlag != "" {
			if err := os.WriteFile(*controlsFlag, []byte(text), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	for _, e := range []struct {
		board  board.Board
		engine board.Engine
	}{
		{board.AMD64_612, board.Cryptd},
		{board.AMD64_612, board.CAAM},
		{board.AMD64_612, board.Sync},
		{board.ARMv7_612, board.Cryptd},
	} {
		name := e.board.String() + "-" + e.engine.String()
		if *onlyFlag != "" && !strings.Contains(","+*onlyFlag+",", ","+name+",") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !*fullFlag && *onlyFlag == "" {
				t.Skip("left for make test-all")
			}
			t.Parallel()
			found := testControls(t, e.board, e.engine)
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, found...)
		})
	}
}

func testControls(t *testing.T, b board.Board, e board.Engine) (lines []matrix.Line) {
	ctx := forCells(t, 90*time.Minute)
	programs, err := wrongBuilds(ctx, b, t.TempDir(), wrong.NoDrain, wrong.NoLinger, wrong.OnlyPOLLOUT)
	if err != nil {
		t.Fatal(err)
	}
	programs["naive"] = filepath.Join(t.TempDir(), "naive")
	if err := b.Build(ctx, board.Build{Package: "./test/board/naive", Output: programs["naive"]}); err != nil {
		t.Fatal(err)
	}
	m := bootForCells(ctx, t, b, e, programs)
	machine := b.String() + "-" + e.String()
	for _, c := range controls(ctx, t, m) {
		t.Run(c.name, func(t *testing.T) {
			p, err := c.start(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			line := matrix.Line{Machine: machine, Server: c.name}
			runner := &cellRunner{m: m, p: p, port: board.TLSPort, effort: 1, files: map[string]bool{}}
			for _, cell := range controlCells(machine) {
				o, err := runner.run(ctx, cell)
				if err != nil {
					t.Fatalf("%v: %v", cell, err)
				}
				line.Add(o)
				t.Logf("%v: %d in kernel TLS, %d bytes pending at most, %+v; %q", cell, o.InKernel, o.PendingMax, o.Result, o.Faults())
				if o.InKernel < int64(o.Result.Connections) {
					t.Errorf("%v: kernel TLS was enabled %d times for %d connections", cell, o.InKernel, o.Result.Connections)
				}
			}
			lines = append(lines, line)
			if !c.ok(line) && (e.Async() || c.sync) {
				t.Errorf("the daemon has a fault, or the control was not caught: %+v", line)
			}
			endServer(ctx, t, p)
		})
	}
	return lines
}

// controls returns the servers for one machine, with the daemon first.
func controls(ctx context.Context, t *testing.T, m *board.Machine) []control {
	t.Helper()
	daemon := func(program string) func(context.Context, *board.Machine) (*board.Process, error) {
		return func(ctx context.Context, m *board.Machine) (*board.Process, error) {
			return m.StartDaemon(ctx, board.Daemon{Wrong: program, Config: cellConfig})
		}
	}
	all := []control{{"the daemon", daemon(""), verdict{fine, true}}}
	for _, v := range controlVariants {
		all = append(all, control{v.Name, daemon(v.Name), v.verdict})
	}
	all = append(all, control{"net/http and sendfile over kernel TLS", func(ctx context.Context, m *board.Machine) (*board.Process, error) {
		return m.StartServer(ctx, board.WrongPath("naive"), fmt.Sprintf(":%d", board.TLSPort), board.Root, board.CertPath, board.KeyPath)
	}, verdict{loses, false}})
	architecture := map[string]string{"x86_64": "amd64", "armv7l": "armhf"}[m.Hello.Machine]
	nginx, err := debian.FetchProgram(ctx, cacheFolder(t), architecture, "bookworm", "/usr/sbin/nginx",
		"nginx", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g")
	if err != nil {
		t.Fatal(err)
	}
	for path, host := range nginx.Files {
		data, err := os.ReadFile(host)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WriteFile(ctx, path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return append(all, control{"nginx and OpenSSL's kernel TLS", func(ctx context.Context, m *board.Machine) (*board.Process, error) {
		for path, text := range map[string]string{
			nginxConfigPath: nginxConfig,
			"/etc/passwd":   "root:x:0:0::/:/bin/false\n",
			"/etc/group":    "root:x:0:\n",
		} {
			if err := m.WriteFile(ctx, path, []byte(text), 0o644); err != nil {
				return nil, err
			}
		}
		return m.StartServer(ctx, nginx.Path, "-c", nginxConfigPath, "-e", "stderr")
	}, verdict{loses, false}})
}

const nginxConfigPath = "/tmp/nginx/nginx.conf"

// nginxConfig runs one worker, as on a small board, with all settings that make nginx use
// kernel TLS and sendfile.
var nginxConfig = fmt.Sprintf(`daemon off;
user root root;
master_process off;
error_log stderr;
pid /tmp/nginx/pid;
events { worker_connections 512; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	client_body_temp_path /tmp/nginx/body;
	proxy_temp_path /tmp/nginx/proxy;
	fastcgi_temp_path /tmp/nginx/fastcgi;
	uwsgi_temp_path /tmp/nginx/uwsgi;
	scgi_temp_path /tmp/nginx/scgi;
	server {
		listen %d ssl;
		ssl_certificate %s;
		ssl_certificate_key %s;
		ssl_protocols TLSv1.2 TLSv1.3;
		ssl_conf_command Options KTLS;
		root %s;
	}
}
`, board.TLSPort, board.CertPath, board.KeyPath, board.Root)

// endServer ends a server that may ignore SIGTERM.
func endServer(ctx context.Context, t *testing.T, p *board.Process) {
	t.Helper()
	if err := p.Signal(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}
