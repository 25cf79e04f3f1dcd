//go:build netns

package netns

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/test/wrong"
)

// sealFile is the size of the downloaded file in bytes. It is large, so that the cost of the request
// does not count.
const sealFile = 512 << 20

// BenchmarkSeal downloads a large file over plain HTTP through a veth pair, alternately from the daemon
// and from a build without the seal. It reports the processor time and the rate with the seal as
// ratios to those without it. It needs root. More turns make the result more precise:
//
//	go test -tags netns -run '^$' -bench Seal -benchtime 80x ./test/netns
func BenchmarkSeal(b *testing.B) {
	if os.Getuid() != 0 {
		b.Fatal("needs root, to give a network namespace one end of a veth pair")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		b.Fatal(err)
	}
	// A file system in memory, so that no disk is measured.
	dir, err := os.MkdirTemp("/dev/shm", "uringhttpd-seal")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "f.bin"), make([]byte, sealFile), 0o644); err != nil {
		b.Fatal(err)
	}
	overlay, err := wrong.Unsealed.Overlay(root, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	servers := []*sealServer{
		startSealServer(b, root, dir, "sealed", 1),
		startSealServer(b, root, dir, "unsealed", 2, "-overlay", overlay),
	}
	type turn struct{ cpu, took time.Duration }
	var cpu, took []float64 // ratio of sealed to unsealed, for each turn
	var sealed turn         // sum of all turns
	for b.Loop() {
		turns := map[string]turn{}
		for _, s := range servers {
			before, start := s.cpu(b), time.Now()
			s.download(b)
			turns[s.name] = turn{s.cpu(b) - before, time.Since(start)}
		}
		with, without := turns["sealed"], turns["unsealed"]
		cpu = append(cpu, with.cpu.Seconds()/without.cpu.Seconds())
		took = append(took, with.took.Seconds()/without.took.Seconds())
		sealed.cpu += with.cpu
		sealed.took += with.took
		slices.Reverse(servers) // alternates the order
	}
	// Medians, since other work of the machine disturbs single turns.
	gib := float64(len(cpu)) * sealFile / (1 << 30)
	b.ReportMetric(median(cpu), "cpu-ratio")
	b.ReportMetric(1/median(took), "rate-ratio")
	b.ReportMetric(sealed.cpu.Seconds()/gib, "cpu-s/GiB")
	b.ReportMetric(gib*1024/sealed.took.Seconds(), "MiB/s")
	b.ReportMetric(0, "ns/op") // meaningless, since it covers both builds
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// A sealServer is a daemon in its own network namespace.
type sealServer struct {
	name, url string
	pid       int
}

// startSealServer builds a daemon and starts it behind a veth pair: 10.97.n.1 is the address of the
// client, 10.97.n.2 that of the daemon.
func startSealServer(b *testing.B, root, dir, name string, n int, flags ...string) *sealServer {
	b.Helper()
	run := func(name string, args ...string) {
		b.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	work := b.TempDir()
	program := filepath.Join(work, "uringhttpd")
	run("go", append(append([]string{"build", "-o", program}, flags...), ".")...)
	config := filepath.Join(work, "uringhttpd.yaml")
	text := fmt.Sprintf("listen:\n  - address: \":8080\"\nroot: %s\nlog: {access: false}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	daemon := exec.Command(program, "serve", "-config", config)
	daemon.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(work, "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	daemon.Stdout, daemon.Stderr = log, log
	runtime.LockOSThread() // Pdeathsig applies to the thread
	b.Cleanup(runtime.UnlockOSThread)
	if err := daemon.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
	})
	pid := strconv.Itoa(daemon.Process.Pid)
	near, far := fmt.Sprintf("seal%d", n), fmt.Sprintf("lead%d", n)
	run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", pid)
	b.Cleanup(func() { exec.Command("ip", "link", "del", near).Run() }) // fails if the namespace has removed it already
	run("ip", "addr", "add", fmt.Sprintf("10.97.%d.1/24", n), "dev", near)
	run("ip", "link", "set", near, "up")
	run("nsenter", "-t", pid, "-n", "ip", "addr", "add", fmt.Sprintf("10.97.%d.2/24", n), "dev", far)
	run("nsenter", "-t", pid, "-n", "ip", "link", "set", far, "up")
	// BBR, a common default, causes variable rates.
	run("nsenter", "-t", pid, "-n", "sysctl", "-q", "-w", "net.ipv4.tcp_congestion_control=reno")
	s := &sealServer{name: name, url: fmt.Sprintf("http://10.97.%d.2:8080/f.bin", n), pid: daemon.Process.Pid}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // there is no event for the start of listening
		res, err := http.Head(s.url)
		if err == nil {
			res.Body.Close()
			if res.ContentLength != sealFile {
				b.Fatalf("%s: %v", s.url, res.Status)
			}
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			b.Fatalf("%v\n%s", err, text)
		}
	}
	s.download(b) // warm-up
	return s
}

// download reads the whole file. The client's kernel discards the bytes (MSG_TRUNC, tcp(7)), so that
// the client uses little processor time.
func (s *sealServer) download(b *testing.B) {
	b.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	addr := &unix.SockaddrInet4{Port: 8080}
	if _, err := fmt.Sscanf(s.url, "http://%d.%d.%d.%d:", &addr.Addr[0], &addr.Addr[1], &addr.Addr[2], &addr.Addr[3]); err != nil {
		b.Fatal(err)
	}
	if err := unix.Connect(fd, addr); err != nil {
		b.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte("GET /f.bin HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	total := 0
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			b.Fatalf("%s, after %d bytes: %v", s.name, total, err)
		}
		if n == 0 {
			break
		}
		total += n
	}
	if total <= sealFile {
		b.Fatalf("%s: %v after %d bytes", s.name, io.ErrUnexpectedEOF, total)
	}
}

// cpu returns the processor time of the daemon, including the threads of its ring, from the clock of
// clock_getcpuclockid(3): utime and stime of /proc/PID/stat are rounded to 10 ms.
func (s *sealServer) cpu(b *testing.B) time.Duration {
	b.Helper()
	const sched = 2 // CPUCLOCK_SCHED, include/linux/posix-timers.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^s.pid<<3|sched), &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
