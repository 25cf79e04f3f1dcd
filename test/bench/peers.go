package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A peer is a kind of server.
type peer struct {
	name string
	// start returns the command that serves the site in the foreground, plain HTTP on port and
	// HTTPS on the next one.
	start   func(ctx context.Context, s *site, port int) ([]string, error)
	version []string // command that prints the version
}

// reference is the server to which the others are compared.
const reference = "nginx"

// peers returns the servers to measure, the reference first.
func peers(o options) []peer {
	all := []peer{
		{reference, startNginx, []string{"nginx", "-v"}},
		{"lighttpd", startLighttpd, []string{"lighttpd", "-v"}},
		{"h2o", startH2O, []string{"h2o", "--version"}},
		{"Go net/http", startNetHTTP, []string{"go", "version"}},
		{"uringhttpd", startDaemon(o.program), []string{o.program, "--version"}},
	}
	if o.baseline != "" {
		all = append(all, peer{"baseline", startDaemon(o.baseline), []string{o.baseline, "--version"}})
	}
	return all
}

func startDaemon(program string) func(context.Context, *site, int) ([]string, error) {
	return func(_ context.Context, s *site, port int) ([]string, error) {
		path, err := s.write(fmt.Sprintf("uringhttpd-%d.yaml", port), fmt.Sprintf(`listen:
  - address: "%s:%d"
  - address: "%s:%d"
    tls: true
root: %s
tls:
  certificate: %s
  key: %s
  kernel: off
log:
  access: false
`, serverAddress, port, serverAddress, port+1, s.root, s.cert, s.key))
		return []string{program, "serve", "-config", path}, err
	}
}

// startNginx uses one worker, sendfile, and a cache of open files: its fastest setting for files.
func startNginx(_ context.Context, s *site, port int) ([]string, error) {
	path, err := s.write("nginx.conf", fmt.Sprintf(`daemon off;
worker_processes 1;
user root;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 16384; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  open_file_cache max=1000 inactive=60s;
  client_body_temp_path %[1]s/nginx-body;
  proxy_temp_path %[1]s/nginx-proxy;
  fastcgi_temp_path %[1]s/nginx-fastcgi;
  uwsgi_temp_path %[1]s/nginx-uwsgi;
  scgi_temp_path %[1]s/nginx-scgi;
  ssl_certificate %[2]s;
  ssl_certificate_key %[3]s;
  ssl_protocols TLSv1.2 TLSv1.3;
  server {
    listen %[4]s:%[5]d backlog=4096;
    listen %[4]s:%[6]d ssl backlog=4096;
    root %[7]s;
  }
}
`, s.dir, s.cert, s.key, serverAddress, port, port+1, s.root))
	return []string{"nginx", "-c", path, "-e", "stderr"}, err
}

func startLighttpd(_ context.Context, s *site, port int) ([]string, error) {
	both, err := os.ReadFile(s.cert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(s.key)
	if err != nil {
		return nil, err
	}
	pem, err := s.write("lighttpd.pem", string(both)+string(key))
	if err != nil {
		return nil, err
	}
	path, err := s.write("lighttpd.conf", fmt.Sprintf(`server.modules = ( "mod_openssl" )
server.document-root = "%[1]s"
server.bind = "%[2]s"
server.port = %[3]d
server.max-keep-alive-requests = 65000
server.max-connections = 8192
server.max-fds = 16384
mimetype.assign = ( "" => "application/octet-stream" )
$SERVER["socket"] == "%[2]s:%[4]d" {
  ssl.engine = "enable"
  ssl.pemfile = "%[5]s"
}
`, s.root, serverAddress, port, port+1, pem))
	return []string{"lighttpd", "-D", "-f", path}, err
}

func startH2O(_ context.Context, s *site, port int) ([]string, error) {
	path, err := s.write("h2o.conf", fmt.Sprintf(`num-threads: 1
user: root
hosts:
  "%[1]s:%[2]d":
    listen:
      host: %[1]s
      port: %[2]d
    paths:
      /:
        file.dir: %[6]s
  "%[1]s:%[3]d":
    listen:
      host: %[1]s
      port: %[3]d
      ssl:
        certificate-file: %[4]s
        key-file: %[5]s
    paths:
      /:
        file.dir: %[6]s
`, serverAddress, port, port+1, s.cert, s.key, s.root))
	return []string{"h2o", "-c", path}, err
}

func startNetHTTP(ctx context.Context, s *site, port int) ([]string, error) {
	program := filepath.Join(s.dir, "nethttp")
	if _, err := run(ctx, "go", "build", "-o", program, "./test/bench/nethttp"); err != nil {
		return nil, err
	}
	return []string{program, fmt.Sprintf("%s:%d", serverAddress, port), fmt.Sprintf("%s:%d", serverAddress, port+1), s.root, s.cert, s.key}, nil
}

// A tail keeps the end of the output of a server.
type tail struct{ b bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	if t.b.Len() > 64<<10 {
		t.b.Next(32 << 10)
	}
	return t.b.Write(p)
}

func (t *tail) String() string { return t.b.String() }

// A server is a running peer.
type server struct {
	peer
	port   int
	cmd    *exec.Cmd
	output tail
	ended  chan struct{} // closed when the process has ended
}

const serverCPU, clientCPU = 0, 1

// startServer starts a peer and returns when it listens.
func startServer(ctx context.Context, n *network, s *site, p peer, port int) (*server, error) {
	argv, err := p.start(ctx, s, port)
	if err != nil {
		return nil, err
	}
	sv := &server{peer: p, port: port, ended: make(chan struct{})}
	sv.cmd = command(ctx, n.server, serverCPU, argv...)
	sv.cmd.Stdout, sv.cmd.Stderr = &sv.output, &sv.output
	sv.cmd.Cancel = func() error { return sv.cmd.Process.Signal(unix.SIGTERM) }
	if err := sv.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		sv.cmd.Wait()
		close(sv.ended)
	}()
	deadline := time.Now().Add(30 * time.Second)
	for !sv.listens(ctx, n) {
		select {
		case <-sv.ended:
			return nil, fmt.Errorf("%s ended: %s", p.name, sv.output.String())
		default:
		}
		if time.Now().After(deadline) {
			sv.stop()
			return nil, fmt.Errorf("%s does not listen: %s", p.name, sv.output.String())
		}
	}
	return sv, nil
}

// listens reports whether both ports accept connections.
func (s *server) listens(ctx context.Context, n *network) bool {
	out, err := run(ctx, "ip", "netns", "exec", n.server, "ss", "-Hltn", fmt.Sprintf("sport = :%d or sport = :%d", s.port, s.port+1))
	return err == nil && strings.Count(out, "LISTEN") == 2
}

// stop ends the server.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
	}
	return nil
}

// url returns the URL of a file for the client.
func (s *server) url(tls bool, file string) string {
	scheme, port := "http", s.port
	if tls {
		scheme, port = "https", s.port+1
	}
	return scheme + "://" + net.JoinHostPort(serverAddress, strconv.Itoa(port)) + "/" + file
}

// cpu returns the CPU time of the server's processes so far, including io_uring's threads.
func (s *server) cpu() (time.Duration, error) { return cpuTime(s.cmd.Process.Pid) }

// cpuTime returns the CPU time of a process and its children (proc_pid_stat(5)).
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	var ticks int64
	for _, field := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	total := time.Duration(ticks) * (time.Second / 100) // USER_HZ
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return total, nil // CONFIG_PROC_CHILDREN is off
	}
	for _, child := range strings.Fields(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			return 0, err
		}
		t, err := cpuTime(n)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		total += t
	}
	return total, nil
}
