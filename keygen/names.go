package keygen

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// hosts are the subject names of a certificate: at least one host name or IP address.
type hosts struct {
	dns []string
	ip  []net.IP
}

// maxAddresses is the largest number of addresses that a certificate has by default: the
// server sends all of them in each handshake.
const maxAddresses = 64

// defaultNames returns the names and addresses under which clients reach a machine with the
// given host name and addresses, and notes about omitted ones.
func defaultNames(host string, addresses []netip.Addr) (names, notes []string) {
	host = strings.ToLower(host)
	switch {
	case host == "", host == "localhost":
	case !isHostname(host):
		notes = append(notes, fmt.Sprintf("the host name %q is omitted, since it is not valid in a certificate; give the name that clients use with -name", host))
	default:
		names = append(names, host)
		// Multicast DNS uses the first label only, RFC 6762.
		if label, _, _ := strings.Cut(host, "."); label != "localhost" {
			names = append(names, label+".local")
		}
	}
	names = append(names, "localhost", "127.0.0.1", "::1")
	addresses = slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return !a.IsGlobalUnicast() })
	if more := len(addresses) - maxAddresses; more > 0 {
		notes = append(notes, fmt.Sprintf("%d addresses of this machine are omitted; give those that clients use with -name", more))
		addresses = addresses[:maxAddresses]
	}
	for _, a := range addresses {
		names = append(names, a.WithZone("").String())
	}
	return names, notes
}

// thisMachine returns this machine's host name, or "", and the addresses of all interfaces.
func thisMachine() (host string, addresses []netip.Addr) {
	host, _ = os.Hostname()
	found, _ := net.InterfaceAddrs()
	for _, a := range found {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addresses = append(addresses, prefix.Addr())
		}
	}
	return host, addresses
}

// underscored returns a note for each name with an underscore, which clients may reject.
func (h hosts) underscored() (notes []string) {
	for _, name := range h.dns {
		if strings.Contains(name, "_") {
			notes = append(notes, fmt.Sprintf("%q has an underscore, which RFC 1123 does not allow in a host name: curl and OpenSSL accept it, some clients do not. Use a hyphen if possible", name))
		}
	}
	return notes
}

// parseNames divides names into host names and IP addresses, without duplicates.
func parseNames(names []string) (hosts, error) {
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
			return hosts{}, fmt.Errorf("%q is neither a host name nor an IP address; write the name or address that clients connect to, such as board.local or 192.0.2.1, without scheme or port", name)
		}
		seen[name] = true
	}
	return h, nil
}

// commonName returns the first name, for display only: clients check the subject alternative
// names. RFC 5280, appendix A.1, limits it to 64 characters.
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

// isHostname reports whether s is a host name by RFC 1123, section 2.1, or a wildcard
// for host names. An underscore is allowed, since boards have such names and most clients
// accept them. The last label must not be a number: that would be a malformed IPv4 address.
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
	return !(c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
}
