package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const rightAddress = `write host:port or [v6]:port in quotes, such as ":443" or "[::1]:8443", the port from 0 to 65535`

// listenAddress reads an address to listen on, or the name of a socket passed by systemd.
func (r *reader) listenAddress(e entry, to *string) {
	const right = rightAddress + ", or systemd:NAME"
	text, ok := r.text(e, right)
	if !ok {
		return
	}
	if name, ok := strings.CutPrefix(text, SocketPrefix); ok {
		if !isDescriptorName(name) {
			r.wrong(e, quote(name)+" is not a valid socket name", "write systemd: and the FileDescriptorName= of the socket unit")
			return
		}
	} else if _, wrong, instead := parseAddress(text); wrong != "" {
		r.wrong(e, wrong, cmp.Or(instead, right))
		return
	}
	r.addresses = append(r.addresses, address{e, text})
	*to = text
}

// metricsAddress reads an address that may be empty.
func (r *reader) metricsAddress(e entry, to *string) {
	const right = rightAddress + `, or "" for none`
	text, ok := r.text(e, right)
	if !ok || text == "" {
		return
	}
	if _, wrong, instead := parseAddress(text); wrong != "" {
		r.wrong(e, wrong, cmp.Or(instead, right))
		return
	}
	r.addresses = append(r.addresses, address{e, text})
	*to = text
}

// An address is an address to listen on, with its entry in the file.
type address struct {
	entry
	text string
}

// collisions reports addresses that cannot be bound together with an earlier address.
func (r *reader) collisions() {
	slices.SortStableFunc(r.addresses, func(a, b address) int { return a.line - b.line })
	for i, second := range r.addresses {
		for _, first := range r.addresses[:i] {
			if wrong, right := Collision(first.key, first.text, first.line, second.text); wrong != "" {
				r.wrong(second.entry, wrong, right)
				break
			}
		}
	}
}

// Collision returns the texts of a Problem if the address second cannot be bound together
// with first, which is the value of key at line; both are "" if there is no problem. Host
// names are compared as names, except localhost, which is 127.0.0.1.
func Collision(key, first string, line int, second string) (wrong, right string) {
	switch {
	case !Overlap(first, second):
		return "", ""
	case strings.EqualFold(first, second):
		return fmt.Sprintf("is the same address as %s in line %d", key, line), "keep one of them"
	}
	return fmt.Sprintf("%s overlaps %s, which is %s in line %d", quote(second), key, quote(first), line),
		"keep one of them, or write addresses that differ: :PORT is all of IPv4 and IPv6, 0.0.0.0:PORT all of IPv4, [::]:PORT all of IPv6"
}

// Overlap reports whether the kernel refuses to listen on both a and b: the ports are equal
// and not 0, and the addresses are equal, or one of them covers the other's family.
func Overlap(a, b string) bool {
	if strings.HasPrefix(a, SocketPrefix) || strings.HasPrefix(b, SocketPrefix) {
		return a == b
	}
	x, wrong, _ := parseAddress(a)
	y, alsoWrong, _ := parseAddress(b)
	switch {
	case wrong != "" || alsoWrong != "" || x.port != y.port || x.port == 0:
		return false
	case x.all() || y.all() || x == y:
		return true
	case !x.ip.IsValid() || !y.ip.IsValid() || x.ip.Is4() != y.ip.Is4():
		return false
	}
	return x.ip.IsUnspecified() || y.ip.IsUnspecified()
}

// An endpoint is a parsed host:port.
type endpoint struct {
	ip   netip.Addr // invalid if there is only a name, or no host
	name string     // in lower case
	port int64
}

// all reports whether e covers all addresses of both families.
func (e endpoint) all() bool { return !e.ip.IsValid() && e.name == "" }

// parseAddress parses a host:port. If it is invalid, parseAddress returns the texts of a
// Problem; right is "" if a description of the form is a sufficient correction.
func parseAddress(address string) (e endpoint, wrong, right string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return e, quote(address) + " is not host:port", ""
	}
	var ok bool
	if e.port, ok = decimal(port); !ok || e.port > 65535 {
		return e, quote(port) + " is not a port number", ""
	}
	if host == "" && !strings.HasPrefix(address, "[") {
		return e, "", ""
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case strings.HasPrefix(address, "[") && !ip.Is6():
		return e, quote(host) + " is not an IPv6 address", ""
	case err != nil && !isHostname(host):
		return e, quote(host) + " is neither an IP address nor a host name", ""
	case err != nil:
		if e.name = strings.ToLower(host); e.name == "localhost" {
			e.ip, e.name = netip.AddrFrom4([4]byte{127, 0, 0, 1}), ""
		}
		return e, "", ""
	case ip.IsMulticast():
		return e, quote(host) + " is a multicast address", "write an address of this machine, or :PORT for all"
	case ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "":
		return e, quote(host) + " is a link-local address without its network interface", "write both, such as " + strconv.Quote("["+host+"%eth0]:"+port)
	}
	if !ip.IsLinkLocalUnicast() {
		ip = ip.WithZone("") // only link-local addresses have a zone
	}
	e.ip = ip.Unmap()
	return e, "", ""
}

// isHostname reports whether s is a host name by RFC 1123, section 2.1. Its last label must not
// be a number: that would be a malformed IPv4 address.
func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notHostname) {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func notHostname(c rune) bool {
	return !(c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
}

// isDescriptorName reports whether systemd accepts s as the name of a file
// descriptor (fdname_is_valid in src/basic/fd-util.c). The same rule holds for the name of a
// credential.
func isDescriptorName(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return s != "" && len(s) <= 255
}
