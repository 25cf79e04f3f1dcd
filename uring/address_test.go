package uring

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestAddress(t *testing.T) {
	v4 := func(a *Address) {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: 8080, Addr: [4]byte{192, 0, 2, 1}}
		a.size = unix.SizeofSockaddrInet4
	}
	v6 := func(address string, scope uint32) func(a *Address) {
		return func(a *Address) {
			*(*unix.RawSockaddrInet6)(unsafe.Pointer(&a.raw)) = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: 8080, Scope_id: scope,
				Addr: netip.MustParseAddr(address).As16()}
			a.size = unix.SizeofSockaddrInet6
		}
	}
	for _, tt := range []struct {
		name, want string
		fill       func(a *Address)
	}{
		{"IPv4", "192.0.2.1:8080", v4},
		{"IPv6", "[2001:db8::1]:8080", v6("2001:db8::1", 0)},
		{"IPv4 on an IPv6 socket", "192.0.2.1:8080", v6("::ffff:192.0.2.1", 0)},
		{"link-local", "[fe80::1%7]:8080", v6("fe80::1", 7)},
		{"nothing stored", "invalid AddrPort", func(*Address) {}},
		{"truncated", "invalid AddrPort", func(a *Address) { v4(a); a.size = 4 }},
		{"another family", "invalid AddrPort", func(a *Address) { a.raw.Addr.Family, a.size = unix.AF_UNIX, 2 }},
	} {
		var a Address
		tt.fill(&a)
		if port := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw)); port.Port != 0 {
			port.Port = binary.NativeEndian.Uint16([]byte{8080 >> 8, 8080 & 255})
		}
		if got := a.AddrPort().String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
