package keygen

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// hosts is who a certificate is for: at least one name or address.
type hosts struct {
	dns []string
	ip  []net.IP
}

// parseNames sorts names into host names and IP addresses, each once.
func parseNames(names []string) (hosts, error) {
	if len(names) == 0 {
		names = []string{"localhost", "127.0.0.1", "::1"}
		if name, ok := hostname(); ok {
			names = slices.Insert(names, 0, name)
		}
	}
	var h hosts
	seen := make(map[string]bool)
	for _, name := range names {
		address, err := netip.ParseAddr(name)
		isAddress := err == nil && address.Zone() == ""
		if isAddress {
			name = address.Unmap().String()
		} else {
			name = strings.ToLower(name)
		}
		switch {
		case seen[name]:
		case isAddress:
			h.ip = append(h.ip, address.Unmap().AsSlice())
		case isHostname(name):
			h.dns = append(h.dns, name)
		default:
			return hosts{}, fmt.Errorf("%q is neither a host name nor an IP address; write what clients connect to, such as board.local or 192.0.2.1, without scheme or port", name)
		}
		seen[name] = true
	}
	return h, nil
}

// commonName returns the first name, for people to read: clients look at the
// others. RFC 5280, appendix A.1: at most 64 characters.
func (h hosts) commonName() string {
	name := ""
	switch {
	case len(h.dns) > 0:
		name = h.dns[0]
	case len(h.ip) > 0:
		name = h.ip[0].String()
	}
	if len(name) > 64 {
		return "uringhttpd"
	}
	return name
}

// isHostname reports whether s is a name by RFC 1123, section 2.1, or a wildcard
// for one. A last label of digits would be an IPv4 address gone wrong.
func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	if len(labels) > 2 && labels[0] == "*" {
		labels = labels[1:]
	}
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
