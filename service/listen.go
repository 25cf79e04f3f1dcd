package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/config"
	"uringhttpd/systemd"
)

// lookupTime bounds how long the name of an address may take to resolve.
const lookupTime = 10 * time.Second

// A lookup returns the addresses of a host, as [net.Resolver.LookupNetIP] does.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// A bindAddress is one of the configuration, ready to be bound.
type bindAddress struct {
	key     string // of the configuration
	written string // its value there
	passed  string // the name that systemd's sockets have, or ""
	ip      netip.Addr
	port    string
	tls     bool
	metrics bool
}

// String returns host:port without a name, as net.Listen takes it.
func (a *bindAddress) String() string {
	if !a.ip.IsValid() {
		return ":" + a.port
	}
	return net.JoinHostPort(a.ip.String(), a.port)
}

// network is that of net.Listen: of an IPv6 address it is IPv6 alone.
func (a *bindAddress) network() string {
	switch {
	case !a.ip.IsValid():
		return "tcp"
	case a.ip.Is4():
		return "tcp4"
	}
	return "tcp6"
}

// addresses returns those of cfg, names resolved, and reports those that do not
// resolve, or resolve to an address of another.
func addresses(cfg *config.Config, find lookup) ([]*bindAddress, config.Problems) {
	var all []*bindAddress
	var problems config.Problems
	add := func(a *bindAddress) {
		if name, ok := strings.CutPrefix(a.written, config.SocketPrefix); ok && !a.metrics {
			a.passed = name
		} else if err := a.resolve(find); err != nil {
			problem := cfg.Problem(a.key, err.wrong, err.right)
			problem.Temporary = err.temporary
			problems = append(problems, problem)
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

// resolve fills ip and port. Of several addresses of a name it is one, of IPv4 if there
// is one, as with net.Listen.
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
			ip = ip.WithZone("") // it means nothing there
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

// absent says why the address cannot be bound on this machine now, whatever its port;
// nil if it can be, or that is not known.
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

// errNoInterface is why an address with such a zone cannot be bound.
var errNoInterface = errors.New("no such network interface")

// zoneIndex is the number of the network interface named zone, 0 for "".
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

// listen binds the address. MPTCP is what net.Listen asks for by default: with it
// neither kernel TLS nor the count of what a client has acknowledged works.
func (a *bindAddress) listen() (*Listener, *fileError) {
	if _, err := zoneIndex(a.ip.Zone()); err != nil {
		return nil, a.bindFailure(err)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), a.network(), a.String())
	if err != nil {
		return nil, a.bindFailure(err)
	}
	ours, err := Listen(l.(*net.TCPListener), a.tls)
	if err != nil {
		return nil, a.bindFailure(err)
	}
	ours.Metrics = a.metrics
	return ours, nil
}

// bindFailure says why the address cannot be bound, and what to do.
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
		return &fileError{"this user may not listen on " + name, "write a port above 1023, or give the unit AmbientCapabilities=CAP_NET_BIND_SERVICE", false}
	case errors.Is(err, syscall.EAFNOSUPPORT) && a.network() == "tcp6":
		return &fileError{"the kernel has no IPv6, which " + name + " needs", "write an IPv4 address, such as 0.0.0.0:" + a.port, false}
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return &fileError{"the kernel, or the unit's RestrictAddressFamilies=, has no IPv4, which " + name + " needs", "write an IPv6 address, such as [::]:" + a.port, false}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &fileError{name + " is not an address of this machine", another, true}
	case errors.Is(err, syscall.EINVAL) && a.ip.IsLinkLocalUnicast() && a.ip.Zone() == "":
		return &fileError{name + " is a link-local address without its network interface", "write both, such as [fe80::1%eth0]:443", false}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &fileError{name + " cannot be listened on: " + err.Error(), another, true}
}

// OpenListeners binds the addresses of cfg, all or none of them, and takes those
// that systemd passes. An error is of type config.Problems if it is one of them.
func OpenListeners(cfg *config.Config) (listeners []*Listener, err error) {
	passed, err := systemd.Sockets()
	if err != nil {
		return nil, err
	}
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
	if len(problems) > 0 {
		return nil, problems
	}
	for _, a := range all {
		at := func(e *fileError) error {
			problem := cfg.Problem(a.key, e.wrong, e.right)
			problem.Temporary = e.temporary
			return config.Problems{problem}
		}
		if a.passed == "" {
			l, err := a.listen()
			if err != nil {
				return listeners, at(err)
			}
			listeners = append(listeners, l)
			continue
		}
		if len(passed[a.passed]) == 0 {
			return listeners, at(&fileError{"systemd passed no socket of that name", "write a socket unit with FileDescriptorName=" + a.passed + " and Service=uringhttpd.service", false})
		}
		for _, f := range passed[a.passed] {
			l, err := net.FileListener(f)
			tl, isTCP := l.(*net.TCPListener)
			if err != nil || !isTCP {
				return listeners, at(&fileError{"the socket that systemd passed is not a listening TCP socket", "write ListenStream= with a port in the socket unit", false})
			}
			ours, err := Listen(tl, a.tls)
			if err != nil {
				return listeners, err
			}
			listeners = append(listeners, ours)
		}
	}
	return listeners, nil
}
