//go:build clients

package clients

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uringhttpd/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// server is a daemon that serves root over plain HTTP at base.
type server struct {
	root, base string

	mu  sync.Mutex
	log strings.Builder
}

// start builds the daemon and starts it. It ends with the test.
func start(t *testing.T) *server {
	t.Helper()
	work := t.TempDir()
	s := &server{root: filepath.Join(work, "root")}
	program, config := filepath.Join(work, "uringhttpd"), filepath.Join(work, "u.yaml")
	build := exec.Command("go", "build", "-o", program, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v, %s", err, out)
	}
	text := fmt.Sprintf("listen:\n  - address: \"127.0.0.1:0\"\nroot: %s\n", s.root)
	if err := os.Mkdir(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "-config", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		address := regexp.MustCompile(`msg=listening address="?([0-9.:]+)`)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			s.mu.Lock()
			s.log.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				listening <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("the daemon: %v\n%s", err, s.logged())
		}
	})
	select {
	case address := <-listening:
		s.base = "http://" + address + "/"
	case <-ended:
		t.Fatalf("the daemon does not listen:\n%s", s.logged())
	}
	return s
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// versions writes a file old into dir, and another into the root that differs in 200 places.
func (s *server) versions(t *testing.T, dir string) (oldName string, updated []byte) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{5})
	content := make([]byte, 25_000_000)
	random.Read(content)
	oldName = filepath.Join(dir, "old.bin")
	if err := os.WriteFile(oldName, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		random.Read(content[i*125_000+int(random.Uint64()%100_000):][:50])
	}
	if err := os.WriteFile(filepath.Join(s.root, "new.bin"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return oldName, content
}

// run runs a client in dir.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Minute
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out[:min(len(out), 2000)])
	}
}

// updated fails unless the file name has the bytes wanted, and they came in some requests for
// less than a tenth of them.
func (s *server) updated(t *testing.T, name string, want []byte, maxRequests int) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes that are not the new ones, %v", len(got), err)
	}
	log := s.logged()
	if n := strings.Count(log, "msg=request"); n == 0 || n > maxRequests {
		t.Errorf("%d requests, want at most %d", n, maxRequests)
	}
	if !strings.Contains(log, "status=206") || strings.Contains(log, "level=WARN") {
		t.Errorf("logged: %.2000s", log)
	}
}

// TestZsync: zsync takes what it has of the old file, and asks for the rest by ranges, many in
// a request. It needs the empty line at the start of a response with several parts.
func TestZsync(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	old, want := s.versions(t, dir)
	run(t, s.root, "zsyncmake", "-u", s.base+"new.bin", "new.bin")
	// What goes wrong with it goes on for ever: zsync asks again.
	run(t, dir, "timeout", "60", "zsync", "-q", "-i", old, "-o", "out.bin", s.base+"new.bin.zsync")
	s.updated(t, filepath.Join(dir, "out.bin"), want, 20)
}

// TestZchunk: zckdl asks for up to 255 ranges at once.
func TestZchunk(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	old, _ := s.versions(t, dir)
	run(t, dir, "zck", "-o", "old.zck", old)
	run(t, s.root, "zck", "-o", "new.zck", "new.bin")
	want, err := os.ReadFile(filepath.Join(s.root, "new.zck"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, "timeout", "60", "zckdl", "-s", "old.zck", s.base+"new.zck")
	s.updated(t, filepath.Join(dir, "new.zck"), want, 4)
}

// TestCurl: several ranges, a path with an empty segment, and RAUC's first request.
func TestCurl(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	_, want := s.versions(t, dir)
	var ranges []string
	for i := range 150 { // SWUpdate's delta handler by default
		ranges = append(ranges, fmt.Sprintf("%d-%d", 100_000*i, 100_000*i+9))
	}
	run(t, dir, "curl", "-sS", "-f", "-o", "parts", "-D", "head", "-r", strings.Join(ranges, ","), s.base+"new.bin")
	head, err := os.ReadFile(filepath.Join(dir, "head"))
	if err != nil || !bytes.Contains(head, []byte("206 Partial Content")) || !bytes.Contains(head, []byte("multipart/byteranges")) {
		t.Errorf("%s, %v", head, err)
	}
	run(t, dir, "curl", "-sS", "-f", "--path-as-is", "-o", "whole", s.base+"/new.bin")
	run(t, dir, "curl", "-sS", "-f", "-r", "0-3", "-o", "first", s.base+"new.bin")
	for name, content := range map[string][]byte{"whole": want, "first": want[:4]} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
