package service

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"uringhttpd/platform"
	"uringhttpd/service/server"
)

// tryConfined is a program that confines itself, and says what is possible before and after.
func tryConfined() error {
	try := func(when string) {
		var said sync.Map
		var wait sync.WaitGroup
		for range 8 { // on threads that there are already, and on new ones
			wait.Add(1)
			go func() {
				defer wait.Done()
				runtime.LockOSThread()
				for _, s := range []struct {
					name   string
					family int
				}{{"AF_ALG", unix.AF_ALG}, {"AF_INET", unix.AF_INET}, {"AF_UNIX", unix.AF_UNIX}, {"AF_NETLINK", unix.AF_NETLINK}} {
					fd, err := unix.Socket(s.family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
					if err == nil {
						unix.Close(fd)
					}
					said.Store(fmt.Sprintf("%s: %s: forbidden %t\n", when, s.name, errors.Is(err, unix.EPERM)), true)
				}
				var params [120]byte
				fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
				if errno == 0 {
					unix.Close(int(fd))
				}
				said.Store(fmt.Sprintf("%s: io_uring: forbidden %t\n", when, errno == unix.EPERM), true)
			}()
		}
		wait.Wait()
		said.Range(func(line, _ any) bool {
			fmt.Print(line)
			return true
		})
	}
	try("before")
	rings := platform.NewRings(server.NewRing)
	feature, sends := rings.Feature(), rings.Sends()
	if err := confine(); err != nil {
		return err
	}
	try("after")
	if rings.Feature() != feature || rings.Sends() != sends || sends == platform.SendsUntested {
		return fmt.Errorf("what rings could do is forgotten: %+v, %q; before %+v, %q", rings.Feature(), rings.Sends(), feature, sends)
	}
	return nil
}

// TestConfined: once confined, no thread opens AF_ALG or makes a ring; other sockets are as before,
// and what was learned of rings is remembered.
func TestConfined(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", "confined").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"before: AF_ALG: forbidden false", "before: io_uring: forbidden false", "before: AF_UNIX: forbidden false",
		"after: AF_ALG: forbidden true", "after: io_uring: forbidden true",
		"after: AF_UNIX: forbidden false", "after: AF_NETLINK: forbidden false",
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("%q is not among\n%s", want, out)
		}
	}
	for _, unwanted := range []string{"after: AF_ALG: forbidden false", "after: io_uring: forbidden false"} {
		if strings.Contains(string(out), unwanted) {
			t.Errorf("on a thread: %s", unwanted)
		}
	}
}
