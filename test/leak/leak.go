// Package leak finds what a package's tests leave behind: descriptors,
// goroutines, locked memory. Each package of the module has
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

// patience is for what ends a little after the test that caused it: connections
// that are closed by the other side, goroutines on their way out.
const patience = 10 * time.Second

// Main runs the tests of a package, and fails if they leave something.
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

// warmUp has the runtime make what it then keeps for good: the poller of the
// network, and the goroutine that takes signals.
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

// A Snapshot is what a process holds.
type Snapshot struct {
	descriptors map[string]int // by what they are, as /proc/self/fd has it
	goroutines  int
	locked      map[string]string // VmLck and VmPin of /proc/self/status
}

// take looks at this process.
func take() (*Snapshot, error) {
	s := &Snapshot{descriptors: map[string]int{}, goroutines: runtime.NumGoroutine(), locked: map[string]string{}}
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil { // else it was open for the listing alone
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

// await waits until the process holds no more than s.
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
		time.Sleep(10 * time.Millisecond) // nothing tells when a descriptor is closed
	}
}

// more says what now has that s has not.
func (s *Snapshot) more(now *Snapshot) error {
	for what, n := range now.descriptors {
		if was := s.descriptors[what]; n > was {
			return fmt.Errorf("%d descriptors of %s are open that were not before the tests", n-was, what)
		}
	}
	for what, n := range now.locked {
		if was := s.locked[what]; n != was {
			return fmt.Errorf("%s is %s, and was %s before the tests", what, n, was)
		}
	}
	if now.goroutines > s.goroutines {
		buf := make([]byte, 1<<20)
		return fmt.Errorf("%d goroutines, %d before the tests:\n%s", now.goroutines, s.goroutines, buf[:runtime.Stack(buf, true)])
	}
	return nil
}
