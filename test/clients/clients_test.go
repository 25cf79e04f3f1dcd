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

// A server is a daemon that serves the directory root over plain HTTP at the URL base.
type server struct {
	root, base string

	mu  sync.Mutex
	log strings.Builder
}

// start builds and starts the daemon, and stops it at the end of the test.
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

// logged returns the log of the daemon so far.
func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// versions writes a file of 25 MB to dir, and one that differs from it in 200 places to the root.
// It returns the name of the first and the content of the second.
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

// run runs a client in the directory dir.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Minute
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out[:min(len(out), 2000)])
	}
}

// updated fails the test if the file name has not the content want, or if the client sent more than
// maxRequests requests.
func (s *server) updated(t *testing.T, name string, want []byte, maxRequests int) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, which are not those of the new version, %v", len(got), err)
	}
	log := s.logged()
	if n := strings.Count(log, "msg=request"); n == 0 || n > maxRequests {
		t.Errorf("%d requests, want at most %d", n, maxRequests)
	}
	if !strings.Contains(log, "status=206") || strings.Contains(log, "level=WARN") {
		t.Errorf("logged: %.2000s", log)
	}
}

// TestZsyncDownloadsOnlyDifferences: zsync copies the common blocks from the old file and requests the
// others with many ranges per request. It depends on the empty line before the first part of a
// multipart response.
func TestZsyncDownloadsOnlyDifferences(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	old, want := s.versions(t, dir)
	run(t, s.root, "zsyncmake", "-u", s.base+"new.bin", "new.bin")
	// After an error zsync repeats the request forever.
	run(t, dir, "timeout", "60", "zsync", "-q", "-i", old, "-o", "out.bin", s.base+"new.bin.zsync")
	s.updated(t, filepath.Join(dir, "out.bin"), want, 20)
}

// TestZchunkDownloadsOnlyDifferences: zckdl requests up to 255 ranges at once.
func TestZchunkDownloadsOnlyDifferences(t *testing.T) {
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

// TestCurlReadsRangesAndWholeFiles: 150 ranges, a path with an empty segment, and the first request
// of RAUC.
func TestCurlReadsRangesAndWholeFiles(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	_, want := s.versions(t, dir)
	var ranges []string
	for i := range 150 { // the default of SWUpdate's delta handler
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
