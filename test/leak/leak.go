// Package leak fails the tests of a package that leave descriptors, goroutines or locked memory.
// Each package of the module has
//
//	func TestMain(m *testing.M) { leak.Main(m) }
//
// To see where a descriptor comes from, run the tests one by one (go test -run),
// or under strace -k.
package leak

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is the time limit for resources that end shortly after a test: connections that the other
// side closes, and goroutines that are about to return.
const patience = 10 * time.Second

// Main runs the tests of a package and exits. The exit status is not 0 if a test has failed or leaked.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if err := warmUp(); err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		return 1
	}
	before, err := take()
	if err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		return 1
	}
	status := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := before.await(patience); err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		return 1
	}
	return status
}

// warmUp makes the runtime create the resources that it keeps: the network poller, and the goroutine
// for signals.
func warmUp() error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	signal.Stop(signals)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return l.Close()
}

// A Snapshot is the set of resources of a process.
type Snapshot struct {
	descriptors map[string]int // number by target of the link in /proc/self/fd
	goroutines  int
	locked      map[string]string // VmLck and VmPin of /proc/self/status
}

// take returns a Snapshot of this process.
func take() (*Snapshot, error) {
	s := &Snapshot{descriptors: map[string]int{}, goroutines: runtime.NumGoroutine(), locked: map[string]string{}}
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil { // otherwise it was the descriptor of the directory listing
			s.descriptors[target]++
		}
	}
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key == "VmLck" || key == "VmPin" {
			s.locked[key] = strings.TrimSpace(value)
		}
	}
	return s, nil
}

// await waits until the process has no more resources than s, at most for limit.
func (s *Snapshot) await(limit time.Duration) error {
	end := time.Now().Add(limit)
	for {
		now, err := take()
		if err != nil {
			return err
		}
		err = s.more(now)
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(10 * time.Millisecond) // there is no event for a closed descriptor
	}
}

// more returns an error if now has resources that s has not.
func (s *Snapshot) more(now *Snapshot) error {
	for target, n := range now.descriptors {
		if was := s.descriptors[target]; n > was {
			return fmt.Errorf("%d descriptors of %s are open that were not open before the tests", n-was, target)
		}
	}
	for key, value := range now.locked {
		if was := s.locked[key]; value != was {
			return fmt.Errorf("%s is %s, and was %s before the tests", key, value, was)
		}
	}
	if now.goroutines > s.goroutines {
		buf := make([]byte, 1<<20)
		return fmt.Errorf("%d goroutines, %d before the tests:\n%s", now.goroutines, s.goroutines, buf[:runtime.Stack(buf, true)])
	}
	return nil
}
