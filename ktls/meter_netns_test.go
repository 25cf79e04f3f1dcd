//go:build linux && netns

package ktls

import (
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMeterBehindQueue sends through a rate limit whose queue is too short, so
// that packets are dropped on this machine. TCP has all bytes that a plain socket accepted: nothing
// is pending. An acknowledgement between the meter's calls makes Pending too large for that reading.
// It must never be too small, and it must be exact at rest.
// test/netns runs it, in a network namespace.
func TestMeterBehindQueue(t *testing.T) {
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Name != "lo" || links[0].Flags&net.FlagUp != 0 {
		t.Fatal("this is not a new network namespace; go test -tags netns ./test/netns makes one")
	}
	for _, args := range [][]string{
		{"ip", "link", "set", "lo", "mtu", "1500", "up"},
		{"tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "100mbit", "burst", "20kb", "limit", "40kb"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s (Debian: iproute2)", args, err, out)
		}
	}
	client, server := socketPair(t)
	file, err := server.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd())
	m, err := NewMeter(FD(fd))
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, client)
		received <- n
	}()
	const total = 8 << 20
	var least int64
	end := time.Now().Add(time.Minute)
	read := func() Reading {
		r, err := m.Read()
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", r, err)
		}
		least = min(least, r.Pending)
		return r
	}
	buf := make([]byte, 64<<10)
	for sent := 0; sent < total; {
		n, err := unix.SendmsgN(fd, buf, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		m.Sent(n)
		sent += n
		read()
	}
	r := read()
	for r.Unacked > 0 {
		r = read()
	}
	r = read()
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	if info.Bytes_retrans == 0 {
		t.Error("no packet was retransmitted: the queue did not drop any, so the test proves nothing")
	}
	if least < 0 || r.Pending != 0 {
		t.Errorf("the meter is wrong by %d bytes, and by %d at rest", least, r.Pending)
	}
	server.Close()
	file.Close()
	if n := <-received; n < total {
		t.Errorf("%d bytes of %d arrived", n, total)
	}
	t.Logf("%d bytes, %d of them retransmitted", total, info.Bytes_retrans)
}
