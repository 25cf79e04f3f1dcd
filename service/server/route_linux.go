package server

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopbackIndex is the index of lo in each network namespace (LOOPBACK_IFINDEX of
// include/net/flow.h).
const loopbackIndex = 1

// sameHost reports whether packets from own to peer stay inside this network
// namespace: peer is one of its addresses, primary or not, or the route to it leads through
// lo. It asks the kernel each time, because addresses change. If the kernel does not answer,
// the result is true, because copies are always correct.
func sameHost(peer, own netip.Addr) bool {
	if peer == own || peer.IsLoopback() || !peer.IsValid() {
		return true
	}
	local, err := routesLocally(peer, own)
	return local || err != nil
}

// routesLocally requests the route from own to peer, rtnetlink(7). The kernel answers within
// sendto(2), so the call does not wait.
func routesLocally(peer, own netip.Addr) (bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, routeRequest(peer, own), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	var answer [4 << 10]byte
	n, _, err := unix.Recvfrom(fd, answer[:], unix.MSG_DONTWAIT)
	if err != nil {
		return false, err
	}
	return routeIsLocal(answer[:n])
}

// routeRequest returns an RTM_GETROUTE message.
func routeRequest(peer, own netip.Addr) []byte {
	family, bits := byte(unix.AF_INET), byte(32)
	if peer.Is6() {
		family, bits = unix.AF_INET6, 128
	}
	native := binary.NativeEndian
	b := make([]byte, unix.SizeofNlMsghdr, 128)
	native.PutUint16(b[4:], unix.RTM_GETROUTE)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST)
	m := unix.RtMsg{Family: family, Dst_len: bits}
	if own.IsValid() && own.Is6() == peer.Is6() {
		m.Src_len = bits
	}
	b = append(b, unsafe.Slice((*byte)(unsafe.Pointer(&m)), unix.SizeofRtMsg)...)
	add := func(kind uint16, value []byte) { // lengths are multiples of 4
		b = native.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
		b = native.AppendUint16(b, kind)
		b = append(b, value...)
	}
	add(unix.RTA_DST, peer.AsSlice())
	if m.Src_len > 0 {
		add(unix.RTA_SRC, own.AsSlice())
	}
	// A link-local address is valid only on its interface.
	if index, err := strconv.ParseUint(peer.Zone(), 10, 31); err == nil {
		add(unix.RTA_OIF, native.AppendUint32(nil, uint32(index)))
	}
	native.PutUint32(b, uint32(len(b)))
	return b
}

// routeIsLocal parses the answer to an RTM_GETROUTE.
func routeIsLocal(b []byte) (bool, error) {
	native := binary.NativeEndian
	if len(b) < unix.SizeofNlMsghdr+4 {
		return false, unix.EBADMSG
	}
	size := int(native.Uint32(b))
	kind := native.Uint16(b[4:])
	if size > len(b) || size < unix.SizeofNlMsghdr+4 {
		return false, unix.EBADMSG
	}
	b = b[unix.SizeofNlMsghdr:size]
	switch {
	case kind == unix.NLMSG_ERROR:
		return false, unix.Errno(-int32(native.Uint32(b)))
	case kind != unix.RTM_NEWROUTE || len(b) < unix.SizeofRtMsg:
		return false, unix.EBADMSG
	}
	if b[7] == unix.RTN_LOCAL { // struct rtmsg: rtm_type
		return true, nil
	}
	for b = b[unix.SizeofRtMsg:]; len(b) >= unix.SizeofRtAttr; {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return false, unix.EBADMSG
		}
		if native.Uint16(b[2:]) == unix.RTA_OIF && n >= unix.SizeofRtAttr+4 {
			return native.Uint32(b[4:]) == loopbackIndex, nil
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, unix.EBADMSG // no device: the route is unknown
}
