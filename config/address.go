package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const rightAddress = `write host:port or [v6]:port in quotes, such as ":443" or "[::1]:8443", the port from 0 to 65535`

// listenAddress reads an address, or the name of a socket passed by systemd.
// first holds what was listed before it.
func (r *reader) listenAddress(e entry, to *string, first map[string]string) {
	const right = rightAddress + ", or systemd:NAME"
	text, ok := r.text(e, right)
	if !ok {
		return
	}
	same, wrong := text, ""
	if name, ok := strings.CutPrefix(text, SocketPrefix); ok {
		if !isDescriptorName(name) {
			r.wrong(e, quote(name)+" is no name of a socket", "write systemd: and what FileDescriptorName= says in the socket unit")
			return
		}
	} else if same, wrong = checkAddress(text); wrong != "" {
		r.wrong(e, wrong, right)
		return
	}
	if key, ok := first[same]; ok && same != "" {
		r.wrong(e, "is the same address as "+key, "keep one of them")
		return
	}
	first[same] = e.key
	*to = text
}

// metricsAddress reads an address that may be empty.
func (r *reader) metricsAddress(e entry, to *string) {
	const right = rightAddress + `, or "" for none`
	text, ok := r.text(e, right)
	if !ok || text == "" {
		return
	}
	if _, wrong := checkAddress(text); wrong != "" {
		r.wrong(e, wrong, right)
		return
	}
	*to = text
}

// checkAddress says what is wrong with a host:port, or returns it in a form that
// is the same for equal addresses: "" if the port is 0, since each use of it is
// another port.
func checkAddress(address string) (same, wrong string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", quote(address) + " is not host:port"
	}
	number, ok := decimal(port)
	if !ok || number > 65535 {
		return "", quote(port) + " is not a port number"
	}
	if host == "" {
		host = "::"
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case strings.HasPrefix(address, "[") && !ip.Is6():
		return "", quote(host) + " is not an IPv6 address"
	case err == nil:
		host = ip.Unmap().String()
	case !isHostname(host):
		return "", quote(host) + " is neither an IP address nor a host name"
	}
	if number == 0 {
		return "", ""
	}
	return net.JoinHostPort(strings.ToLower(host), strconv.FormatInt(number, 10)), ""
}

// isHostname reports whether s is a name by RFC 1123, section 2.1, the last
// label of which is not a number: that would be an IPv4 address gone wrong.
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

// isDescriptorName reports whether systemd takes s as a name of a file
// descriptor (fdname_is_valid in src/basic/fd-util.c), which a credential's name
// has to be as well.
func isDescriptorName(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return s != "" && len(s) <= 255
}
