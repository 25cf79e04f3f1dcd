//go:build netns

package server

import (
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSameHostAddresses: in a network namespace of its own, which needs root, every address
// of the machine is the same host, primary or secondary, of lo or another device, as long as
// it is there; so is an address that is routed through lo. An address behind a device is not.
func TestSameHostAddresses(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("a network namespace: %v; run the test as root", err)
			return
		}
		run := func(command string) bool {
			words := strings.Fields(command)
			out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", command, err, out)
			}
			return err == nil
		}
		for _, command := range []string{
			"ip link set lo up",
			"ip address add 10.9.0.1/24 dev lo",
			"ip address add 10.9.0.2/24 dev lo",
			"ip link add near type veth peer name far",
			"ip address add 192.168.7.1/24 dev near",
			"ip address add 192.168.7.2/24 dev near",
			"ip address add fd00:7::1/64 dev near nodad",
			"ip link set near up",
			"ip link set far up",
			"ip route add local 198.51.100.0/24 dev lo",
		} {
			if !run(command) {
				return
			}
		}
		check := func(peer, own string, want bool) {
			t.Helper()
			p, o := netip.MustParseAddr(peer), netip.MustParseAddr(own)
			if got := sameHost(p, o); got != want {
				_, err := routesLocally(p, o)
				t.Errorf("peer %s, own %s: %v, want %v (%v)", peer, own, got, want, err)
			}
		}
		check("10.9.0.1", "10.9.0.2", true)
		check("10.9.0.2", "10.9.0.1", true)
		check("192.168.7.1", "192.168.7.2", true)
		check("192.168.7.2", "10.9.0.1", true)
		check("198.51.100.9", "10.9.0.1", true) // any address of that network is local
		// An IPv6 address gets its route when the device is ready, which nothing tells.
		ready := netip.MustParseAddr("fd00:7::1")
		for end := time.Now().Add(20 * time.Second); !sameHost(ready, ready.Prev()) && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		check("fd00:7::1", "::1", true)
		check("192.168.7.9", "192.168.7.1", false)
		check("fd00:7::9", "fd00:7::1", false)
		if run("ip address add 192.168.7.9/24 dev near") {
			check("192.168.7.9", "192.168.7.1", true)
		}
		if run("ip address del 192.168.7.9/24 dev near") {
			check("192.168.7.9", "192.168.7.1", false)
		}
	}()
	<-done
}
