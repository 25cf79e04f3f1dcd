package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/config"
	"uringhttpd/service/server"
)

// lookupTime is the time limit for the resolution of a host name.
const lookupTime = 10 * time.Second

// A lookup returns the addresses of a host, as [net.Resolver.LookupNetIP] does.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// A bindAddress is an address of the configuration, ready to be bound.
type bindAddress struct {
	key     string // of the configuration
	written string // its value in the configuration
	passed  string // the name of sockets passed by systemd, or ""
	ip      netip.Addr
	port    string
	tls     bool
	metrics bool
}

// String returns the address for net.Listen: IP address and port, or :port.
func (a *bindAddress) String() string {
	if !a.ip.IsValid() {
		return ":" + a.port
	}
	return net.JoinHostPort(a.ip.String(), a.port)
}

// network returns the network for net.Listen. For an IPv6 address that is IPv6 only.
func (a *bindAddress) network() string {
	switch {
	case !a.ip.IsValid():
		return "tcp"
	case a.ip.Is4():
		return "tcp4"
	}
	return "tcp6"
}

// addresses returns the addresses of cfg, with names resolved, and reports names that do not
// resolve, and addresses that collide with an earlier address after resolution.
func addresses(cfg *config.Config, find lookup) ([]*bindAddress, config.Problems) {
	var all []*bindAddress
	var problems config.Problems
	add := func(a *bindAddress) {
		if name, ok := strings.CutPrefix(a.written, config.SocketPrefix); ok && !a.metrics {
			a.passed = name
		} else if err := a.resolve(find); err != nil {
			problems = append(problems, a.problem(cfg, err))
			return
		}
		for _, first := range all {
			if first.passed != "" || a.passed != "" {
				continue
			}
			line := cfg.Problem(first.key, "", "").Line
			if wrong, right := config.Collision(first.key, first.String(), line, a.String()); wrong != "" {
				problems = append(problems, cfg.Problem(a.key, wrong, right))
				break
			}
		}
		all = append(all, a)
	}
	for i, l := range cfg.Listen {
		add(&bindAddress{key: fmt.Sprintf("listen[%d].address", i), written: l.Address, tls: l.TLS})
	}
	if cfg.Metrics.Address != "" {
		add(&bindAddress{key: "metrics.address", written: cfg.Metrics.Address, metrics: true})
	}
	return all, problems
}

// resolve sets ip and port. If a name has several addresses, ip is the first IPv4 address or,
// if there is none, the first address, as with net.Listen.
func (a *bindAddress) resolve(find lookup) *fileError {
	host, port, err := net.SplitHostPort(a.written)
	if err != nil {
		return &fileError{wrong: err.Error(), right: "write host:port"}
	}
	a.port = port
	if host == "" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if !ip.IsLinkLocalUnicast() {
			ip = ip.WithZone("") // only link-local addresses have a zone
		}
		a.ip = ip.Unmap()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := find(ctx, "ip", host)
	if err == nil && len(found) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		var dns *net.DNSError
		why := err.Error()
		if errors.As(err, &dns) {
			why = dns.Err
		}
		return &fileError{wrong: fmt.Sprintf("the host name %q does not resolve: %s", host, why),
			right: "write an IP address, or enter the name in /etc/hosts or DNS", temporary: true}
	}
	a.ip = found[0].Unmap()
	for _, ip := range found {
		if ip = ip.Unmap(); ip.Is4() {
			a.ip = ip
			break
		}
	}
	return nil
}

// absent returns the reason why the address, with any port, cannot be bound on this machine
// now; nil if it can be bound, or if that is unknown.
func (a *bindAddress) absent() *fileError {
	var sa unix.Sockaddr
	family := unix.AF_INET6
	switch ip := a.ip; {
	case !ip.IsValid():
		return nil
	case ip.Is4():
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: ip.As4()}
	default:
		index, err := zoneIndex(ip.Zone())
		if err != nil {
			return a.bindFailure(err)
		}
		sa = &unix.SockaddrInet6{Addr: ip.As16(), ZoneId: index}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return a.bindFailure(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, sa); err != nil {
		return a.bindFailure(err)
	}
	return nil
}

// errNoInterface is the error for an address whose zone is not a network interface.
var errNoInterface = errors.New("no such network interface")

// zoneIndex returns the index of the network interface named zone, 0 for "".
func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 31); err == nil {
		if _, err := net.InterfaceByIndex(int(n)); err != nil {
			return 0, errNoInterface
		}
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, errNoInterface
	}
	return uint32(i.Index), nil
}

// listen binds the address. It disables MPTCP, the default of net.Listen, since neither
// kernel TLS nor the count of acknowledged bytes works with MPTCP.
func (a *bindAddress) listen() (*server.Listener, *fileError) {
	if _, err := zoneIndex(a.ip.Zone()); err != nil {
		return nil, a.bindFailure(err)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), a.network(), a.String())
	if err != nil {
		return nil, a.bindFailure(err)
	}
	ours, err := server.Listen(l.(*net.TCPListener), a.tls)
	if err != nil {
		return nil, a.bindFailure(err)
	}
	ours.Metrics = a.metrics
	return ours, nil
}

// bindFailure returns the problem and the remedy for an error of binding the address.
func (a *bindAddress) bindFailure(err error) *fileError {
	name := a.written
	if name != a.String() && a.ip.IsValid() {
		name = fmt.Sprintf("%s (%s)", name, a)
	}
	const another = "write one that `ip address` shows, or :PORT for all"
	switch {
	case errors.Is(err, errNoInterface):
		return &fileError{"there is no network interface " + quoted(a.ip.Zone()) + " for " + name, "write one that `ip link` shows", true}
	case errors.Is(err, syscall.EADDRINUSE):
		return &fileError{"the address " + name + " is in use", "write a free port, or stop the program that `ss -tanp` shows there", true}
	case errors.Is(err, syscall.EACCES):
		return &fileError{"no permission to listen on " + name, "write a port above 1023, or add AmbientCapabilities=CAP_NET_BIND_SERVICE to the unit", false}
	case errors.Is(err, syscall.EAFNOSUPPORT) && a.network() == "tcp6":
		return &fileError{"the kernel does not support IPv6, which " + name + " needs", "write an IPv4 address, such as 0.0.0.0:" + a.port, false}
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return &fileError{"the kernel does not support IPv4, or RestrictAddressFamilies= of the unit excludes it, which " + name + " needs", "write an IPv6 address, such as [::]:" + a.port, false}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &fileError{name + " is not an address of this machine", another, true}
	case errors.Is(err, syscall.EINVAL) && a.ip.IsLinkLocalUnicast() && a.ip.Zone() == "":
		return &fileError{name + " is a link-local address without its network interface", "write both, such as [fe80::1%eth0]:443", false}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &fileError{"cannot listen on " + name + ": " + err.Error(), another, true}
}

// openListeners binds all addresses of cfg, or none of them, and uses the sockets in passed,
// the result of systemd.Sockets, for the entries that name them. It closes the files of
// passed. An error is of type config.Problems. Warnings are about sockets that no entry names,
// and about plain HTTP on a port for HTTPS.
func openListeners(cfg *config.Config, passed map[string][]*os.File) (listeners []*server.Listener, warnings config.Problems, err error) {
	defer func() {
		for _, files := range passed {
			for _, f := range files {
				f.Close()
			}
		}
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			listeners = nil
		}
	}()
	all, problems := addresses(cfg, net.DefaultResolver.LookupNetIP)
	// Sockets passed by systemd come first, since they are already bound.
	taken, more := takePassed(cfg, all, passed)
	problems = append(problems, more...)
	warnings = unnamed(cfg, all, passed)
	for _, a := range all {
		if len(problems) > 0 {
			break
		}
		if a.passed != "" {
			listeners = append(listeners, taken[a]...)
			for _, l := range taken[a] {
				if _, port, _ := net.SplitHostPort(l.Addr); !a.tls && cfg.TLS.Certificate != "" && (port == "443" || port == "8443") {
					warnings = append(warnings, cfg.Problem(a.key, "is plain HTTP on port "+port+", where clients expect HTTPS", "write tls: true in this entry, or another port"))
				}
			}
			continue
		}
		l, err := a.listen()
		if err != nil {
			for b, ls := range taken {
				for _, l := range ls {
					if config.Overlap(l.Addr, a.String()) {
						err = &fileError{wrong: fmt.Sprintf("%s overlaps %s, for which systemd passes %s", a.written, b.key, l.Addr), right: "keep one of them"}
					}
				}
			}
			problems = append(problems, a.problem(cfg, err))
			break
		}
		listeners = append(listeners, l)
	}
	if len(problems) > 0 {
		for _, ls := range taken {
			listeners = append(listeners, ls...) // to be closed; closing twice is allowed
		}
		problems.Sort()
		return listeners, warnings, problems
	}
	return listeners, warnings, nil
}

func (a *bindAddress) problem(cfg *config.Config, e *fileError) config.Problem {
	problem := cfg.Problem(a.key, e.wrong, e.right)
	problem.Temporary = e.temporary
	return problem
}

// takePassed returns the Listeners of the entries that name a socket passed by systemd.
func takePassed(cfg *config.Config, all []*bindAddress, passed map[string][]*os.File) (map[*bindAddress][]*server.Listener, config.Problems) {
	taken := make(map[*bindAddress][]*server.Listener)
	var problems config.Problems
	for _, a := range all {
		if a.passed == "" {
			continue
		}
		if len(passed[a.passed]) == 0 {
			problems = append(problems, a.problem(cfg, &fileError{wrong: "systemd passed no socket of that name",
				right: "write a socket unit with FileDescriptorName=" + a.passed + " and Service=uringhttpd.service"}))
		}
		for _, f := range passed[a.passed] {
			l, err := a.take(f)
			if err != nil {
				problems = append(problems, a.problem(cfg, err))
				break
			}
			taken[a] = append(taken[a], l)
		}
	}
	return taken, problems
}

// take returns a Listener for a socket passed by systemd.
func (a *bindAddress) take(f *os.File) (*server.Listener, *fileError) {
	if err := checkPassed(f); err != nil {
		return nil, err
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, &fileError{wrong: "the socket that systemd passed cannot be used: " + err.Error(), right: "restart the socket unit", temporary: true}
	}
	ours, err := server.Listen(l.(*net.TCPListener), a.tls)
	if err != nil {
		return nil, &fileError{wrong: "the socket that systemd passed cannot be used: " + err.Error(), right: "restart the socket unit", temporary: true}
	}
	return ours, nil
}

// checkPassed returns the reason why a socket passed by systemd cannot be served, or nil.
func checkPassed(f *os.File) *fileError {
	const stream = "write ListenStream= with a port, and no other Listen*= setting, in the socket unit"
	raw, err := f.SyscallConn()
	var wrong *fileError
	if err == nil {
		err = raw.Control(func(fd uintptr) { wrong = checkSocket(int(fd), stream) })
	}
	if err != nil {
		return &fileError{wrong: "the file that systemd passed cannot be used: " + err.Error(), right: stream}
	}
	return wrong
}

func checkSocket(fd int, stream string) *fileError {
	get := func(option int) int {
		v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if err != nil {
			return -1
		}
		return v
	}
	domain, kind, protocol := get(unix.SO_DOMAIN), get(unix.SO_TYPE), get(unix.SO_PROTOCOL)
	switch {
	case domain < 0:
		return &fileError{wrong: "the file that systemd passed is not a socket", right: stream}
	case domain != unix.AF_INET && domain != unix.AF_INET6:
		return &fileError{wrong: "the socket that systemd passed is neither IPv4 nor IPv6", right: stream}
	case kind != unix.SOCK_STREAM:
		return &fileError{wrong: "the socket that systemd passed is for datagrams, not TCP", right: stream}
	case protocol == unix.IPPROTO_MPTCP:
		return &fileError{wrong: "the socket that systemd passed is MPTCP, with which kernel TLS does not work", right: "remove SocketProtocol=mptcp from the socket unit"}
	case protocol != unix.IPPROTO_TCP:
		return &fileError{wrong: fmt.Sprintf("the socket that systemd passed is of protocol %d, not TCP", protocol), right: "remove SocketProtocol= from the socket unit"}
	case get(unix.SO_ACCEPTCONN) == 1:
		return nil
	}
	if _, err := unix.Getpeername(fd); err == nil {
		return &fileError{wrong: "the socket that systemd passed is a connection, not a listener", right: "write Accept=no in the socket unit"}
	}
	return &fileError{wrong: "the socket that systemd passed does not listen", right: stream}
}

// unnamed returns a warning for each socket passed by systemd that no entry names.
func unnamed(cfg *config.Config, all []*bindAddress, passed map[string][]*os.File) (warnings config.Problems) {
	named := make(map[string]bool)
	for _, a := range all {
		named[a.passed] = true
	}
	for _, name := range slices.Sorted(maps.Keys(passed)) {
		if len(passed[name]) > 0 && !named[name] {
			warnings = append(warnings, cfg.Problem("listen", "systemd passes "+quoted(name)+", which no entry names, so it is closed",
				"write an entry with address: "+strconv.Quote(config.SocketPrefix+name)+", or remove it from the socket unit"))
		}
	}
	return warnings
}
