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

// confinedChild is the child process of TestConfineDeniesAFALGAndRings: it prints the sockets and
// rings that it can create before and after confine.
func confinedChild() error {
	try := func(when string) {
		var lines sync.Map
		var wait sync.WaitGroup
		for range 8 { // on existing threads and on new ones
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
					lines.Store(fmt.Sprintf("%s: %s: forbidden %t\n", when, s.name, errors.Is(err, unix.EPERM)), true)
				}
				var params [120]byte
				fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
				if errno == 0 {
					unix.Close(int(fd))
				}
				lines.Store(fmt.Sprintf("%s: io_uring: forbidden %t\n", when, errno == unix.EPERM), true)
			}()
		}
		wait.Wait()
		lines.Range(func(line, _ any) bool {
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
		return fmt.Errorf("confine changed the known features of rings: %+v, %q; before %+v, %q", rings.Feature(), rings.Sends(), feature, sends)
	}
	return nil
}

// TestConfineDeniesAFALGAndRings: after confine no thread can open an AF_ALG socket or create a
// ring. Other sockets still work, and the features of rings determined before stay known.
func TestConfineDeniesAFALGAndRings(t *testing.T) {
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
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	for _, unwanted := range []string{"after: AF_ALG: forbidden false", "after: io_uring: forbidden false"} {
		if strings.Contains(string(out), unwanted) {
			t.Errorf("on at least one thread: %s", unwanted)
		}
	}
}
