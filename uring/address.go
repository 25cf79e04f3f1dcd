//go:build linux

package uring

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Address is memory for the address of a client, which AcceptFrom fills.
type Address struct {
	raw  unix.RawSockaddrAny
	size uint32 // before the operation, of raw; after it, of the address
}

// AddrPort returns the address, IPv4 also for a client of an IPv6 socket, with the index of the
// interface as the zone of a link-local address. It returns the zero AddrPort for another family.
func (a *Address) AddrPort() netip.AddrPort {
	switch family := a.raw.Addr.Family; {
	case family == unix.AF_INET && a.size >= unix.SizeofSockaddrInet4:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), networkOrder(sa.Port))
	case family == unix.AF_INET6 && a.size >= unix.SizeofSockaddrInet6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.raw))
		ip := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 { // of a link-local address
			ip = ip.WithZone(strconv.FormatUint(uint64(sa.Scope_id), 10))
		}
		return netip.AddrPortFrom(ip, networkOrder(sa.Port))
	}
	return netip.AddrPort{}
}

// networkOrder converts a port from the byte order of the network.
func networkOrder(port uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, port))
}
