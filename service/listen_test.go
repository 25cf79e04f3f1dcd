package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uringhttpd/config"
	"uringhttpd/service/server"
)

func mustParse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse([]byte(text), "f")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// needIPv6 skips the test if the kernel has no ::1.
func needIPv6(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
		t.Skip("the kernel has no IPv6")
	}
	a := &bindAddress{ip: netip.IPv6Loopback()}
	if a.absent() != nil {
		t.Skip("lo has no ::1")
	}
}

// TestListenersDoNotUseMPTCP: net.Listen uses MPTCP by default if the kernel supports it.
func TestListenersDoNotUseMPTCP(t *testing.T) {
	text := "listen:\n- address: \":0\"\n- address: \"0.0.0.0:0\"\n- address: \"127.0.0.1:0\"\n- address: \"localhost:0\"\nroot: /srv\nmetrics: {address: \"127.0.0.1:0\"}\n"
	listeners, _, err := openListeners(mustParse(t, text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(listeners) != 5 || !listeners[4].Metrics {
		t.Errorf("%d listeners, want 5, the last for metrics", len(listeners))
	}
	for _, l := range listeners {
		defer l.Close()
		if protocol, err := unix.GetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_TCP {
			t.Errorf("%s: protocol %d, %v, want %d", l.Addr, protocol, err, unix.IPPROTO_TCP)
		}
	}
}

// TestListenersServeOnlyTheirFamily: an IPv4 address does not accept IPv6 connections, nor the
// other way round; an address without a host accepts both.
func TestListenersServeOnlyTheirFamily(t *testing.T) {
	needIPv6(t)
	for _, tt := range []struct {
		address string
		v4, v6  bool
	}{
		{":0", true, true}, {"0.0.0.0:0", true, false}, {"127.0.0.1:0", true, false}, {"[::ffff:127.0.0.1]:0", true, false},
		{"[::]:0", false, true}, {"[::1]:0", false, true}, {"[::1%lo]:0", false, true}, {"localhost:0", true, false},
	} {
		for _, text := range []string{
			fmt.Sprintf("listen: [{address: %q}]\nroot: /srv\n", tt.address),
			fmt.Sprintf("listen: [{address: \"127.0.0.1:0\"}]\nroot: /srv\nmetrics: {address: %q}\n", tt.address),
		} {
			listeners, _, err := openListeners(mustParse(t, text), nil)
			if err != nil {
				t.Errorf("%s: %v", tt.address, err)
				continue
			}
			_, port, err := net.SplitHostPort(listeners[len(listeners)-1].Addr)
			if err != nil {
				t.Fatal(err)
			}
			for host, want := range map[string]bool{"127.0.0.1": tt.v4, "::1": tt.v6} {
				conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
				if err == nil {
					conn.Close()
				}
				if (err == nil) != want {
					t.Errorf("%s: %s answers with %v, want %v", tt.address, host, err, want)
				}
			}
			for _, l := range listeners {
				l.Close()
			}
		}
	}

	// The unspecified addresses of both families can be bound to one port.
	free, _, err := openListeners(mustParse(t, "listen: [{address: \":0\"}]\nroot: /srv\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free[0].Addr)
	free[0].Close()
	both, _, err := openListeners(mustParse(t, strings.ReplaceAll("listen: [{address: \"0.0.0.0:P\"}, {address: \"[::]:P\"}]\nroot: /srv\n", "P", port)), nil)
	if err != nil {
		t.Error(err)
	}
	for _, l := range both {
		l.Close()
	}
}

// TestBindFailuresHaveARemedy compares the complete error of each bind failure.
func TestBindFailuresHaveARemedy(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		address, want string
		temporary     bool
	}{
		{l.Addr().String(), "the address " + l.Addr().String() + " is in use; write a free port, or stop the program that `ss -tanp` shows there", true},
		{"192.0.2.1:80", "192.0.2.1:80 is not an address of this machine; write one that `ip address` shows, or :PORT for all", true},
		{"[fe80::1%none0]:80", `there is no network interface "none0" for [fe80::1%none0]:80; write one that ` + "`ip link` shows", true},
		{"[fe80::1%999999]:80", `there is no network interface "999999" for [fe80::1%999999]:80; write one that ` + "`ip link` shows", true},
		{"systemd:x", "systemd passed no socket of that name; write a socket unit with FileDescriptorName=x and Service=uringhttpd.service", false},
	} {
		_, _, err := openListeners(mustParse(t, fmt.Sprintf("root: /srv\nlisten: [{address: \"127.0.0.1:0\"}, {address: %q}]\n", tt.address)), nil)
		var problems config.Problems
		if want := "f:2: listen[1].address: " + tt.want; !errors.As(err, &problems) || err.Error() != want || problems.Temporary() != tt.temporary {
			t.Errorf("%s:\ngot  %v, temporary %v\nwant %s", tt.address, err, problems.Temporary(), want)
		}
	}
	// Errors that may not occur on this machine.
	for _, tt := range []struct {
		address string
		err     error
		want    string
	}{
		{"[::]:443", syscall.EAFNOSUPPORT, "the kernel does not support IPv6, which [::]:443 needs; write an IPv4 address, such as 0.0.0.0:443"},
		{"0.0.0.0:443", syscall.EAFNOSUPPORT, "the kernel does not support IPv4, or RestrictAddressFamilies= of the unit excludes it, which 0.0.0.0:443 needs; write an IPv6 address, such as [::]:443"},
		{":443", syscall.EACCES, "no permission to listen on :443; write a port above 1023, or add AmbientCapabilities=CAP_NET_BIND_SERVICE to the unit"},
		{"[fe80::1]:443", syscall.EINVAL, "[fe80::1]:443 is a link-local address without its network interface; write both, such as [fe80::1%eth0]:443"},
		{":443", syscall.EIO, "cannot listen on :443: input/output error; write one that `ip address` shows, or :PORT for all"},
	} {
		a := &bindAddress{written: tt.address}
		if err := a.resolve(nil); err != nil {
			t.Fatal(err)
		}
		if got := a.bindFailure(&net.OpError{Err: os.NewSyscallError("bind", tt.err)}); !regexp.MustCompile("^" + strings.Replace(regexp.QuoteMeta(tt.want), "input", "(bind: )?input", 1) + "$").MatchString(got.Error()) {
			t.Errorf("%s, %v: %v\nwant %s", tt.address, tt.err, got, tt.want)
		}
	}
}

// TestHostNamesResolveToOneAddress: a host name stands for its first IPv4 address, else its first
// address, and collides with that address.
func TestHostNamesResolveToOneAddress(t *testing.T) {
	find := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		switch host {
		case "board":
			return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}, nil
		case "six":
			return []netip.Addr{netip.MustParseAddr("2001:db8::1")}, nil
		case "empty":
			return nil, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host}
	}
	for _, tt := range []struct{ first, second, want string }{
		{"board:80", "192.0.2.2:80", ""},
		{"board:80", "192.0.2.1:81", ""},
		{"board:80", "six:80", ""},
		{"board:80", "192.0.2.1:80", "listen[1].address: is the same address as listen[0].address in line 2; keep one of them"},
		{"six:80", "[2001:db8::1]:80", "listen[1].address: is the same address as listen[0].address in line 2; keep one of them"},
		{"board:80", "other:80", `listen[1].address: the host name "other" does not resolve: no such host; write an IP address, or enter the name in /etc/hosts or DNS`},
		{"board:80", "empty:80", `listen[1].address: the host name "empty" does not resolve: it has no address; `},
	} {
		all, problems := addresses(mustParse(t, fmt.Sprintf("root: /srv\nlisten: [{address: %q}, {address: %q}]\n", tt.first, tt.second)), find)
		if tt.want == "" && len(problems) == 0 && len(all) == 2 {
			continue
		}
		if tt.want == "" || len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "f:2: "+tt.want) {
			t.Errorf("%s, %s: %v, %v, want %s", tt.first, tt.second, all, problems, tt.want)
		}
	}
}

// passedFile returns a socket such as systemd passes, or nil if the kernel lacks the protocol.
func passedFile(t *testing.T, domain, kind, protocol int, listen bool) *os.File {
	t.Helper()
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	switch domain {
	case unix.AF_INET:
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	case unix.AF_INET6:
		err = unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()})
	}
	if err == nil && listen {
		err = unix.Listen(fd, 8)
	}
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "passed")
}

// TestPassedSocketsAreChecked: a passed socket that cannot be served is a problem of the entry that
// names it, and all passed files are closed.
func TestPassedSocketsAreChecked(t *testing.T) {
	tcp := func() *os.File { return passedFile(t, unix.AF_INET, unix.SOCK_STREAM, 0, true) }
	open := func(text string, passed map[string][]*os.File) ([]*server.Listener, config.Problems, error) {
		t.Helper()
		return openListeners(mustParse(t, "root: /srv\nlisten:\n"+text), passed)
	}
	const entry = "- address: systemd:web\n"

	listeners, warnings, err := open(entry, map[string][]*os.File{"web": {tcp(), tcp()}})
	if err != nil || len(listeners) != 2 || len(warnings) != 0 {
		t.Errorf("two sockets of a name: %v, %v, %v", listeners, warnings, err)
	}
	for _, l := range listeners {
		l.Close()
	}

	// A socket without an entry causes a warning, and is closed.
	other := tcp()
	listeners, warnings, err = open(entry+"- address: \"127.0.0.1:0\"\n", map[string][]*os.File{"web": {tcp()}, "other": {other}, "none": {}})
	if err != nil || len(listeners) != 2 || len(warnings) != 1 ||
		warnings[0].String() != `f:2: listen: systemd passes "other", which no entry names, so it is closed; write an entry with address: "systemd:other", or remove it from the socket unit` {
		t.Errorf("a socket without an entry: %v, %v, %v", listeners, warnings, err)
	}
	if err := other.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the socket without an entry is not closed: %v", err)
	}
	for _, l := range listeners {
		l.Close()
	}

	// A passed socket whose address overlaps a configured address.
	web := tcp()
	sa, err := unix.Getsockname(int(web.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	_, _, err = open(entry+"- address: \""+address+"\"\n", map[string][]*os.File{"web": {web}})
	if want := "f:4: listen[1].address: " + address + " overlaps listen[0].address, for which systemd passes " + address + "; keep one of them"; err == nil || err.Error() != want {
		t.Errorf("a collision: %v\nwant %s", err, want)
	}

	server, client := passedFile(t, unix.AF_INET, unix.SOCK_STREAM, 0, true), passedFile(t, unix.AF_INET, unix.SOCK_STREAM, 0, false)
	defer server.Close()
	if sa, err = unix.Getsockname(int(server.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(int(client.Fd()), sa); err != nil {
		t.Fatal(err)
	}
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, tt := range []struct {
		name string
		file *os.File
		want string
	}{
		{"connection", client, "is a connection, not a listener; write Accept=no in the socket unit"},
		{"bound", passedFile(t, unix.AF_INET, unix.SOCK_STREAM, 0, false), "does not listen; "},
		{"datagrams", passedFile(t, unix.AF_INET, unix.SOCK_DGRAM, 0, false), "is for datagrams, not TCP; "},
		{"Unix", passedFile(t, unix.AF_UNIX, unix.SOCK_STREAM, 0, false), "is neither IPv4 nor IPv6; "},
		{"MPTCP", passedFile(t, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, true), "is MPTCP, with which kernel TLS does not work; remove SocketProtocol=mptcp from the socket unit"},
		{"SCTP", passedFile(t, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP, true), "is of protocol 132, not TCP; "},
		{"pipe", pipe, "the file that systemd passed is not a socket; "},
	} {
		if tt.file == nil {
			t.Logf("%s: not supported by this kernel", tt.name)
			continue
		}
		want := "f:3: listen[0].address: the socket that systemd passed " + tt.want
		if strings.HasPrefix(tt.want, "the file") {
			want = "f:3: listen[0].address: " + tt.want
		}
		listeners, _, err := open(entry, map[string][]*os.File{"web": {tcp(), tt.file}})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") || listeners != nil {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.name, err, want)
		}
	}
}
