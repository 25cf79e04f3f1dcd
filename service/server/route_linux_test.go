package server

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSameHost asks the kernel about addresses that are this machine's in each network
// namespace, and about routes. test/netns has those of other interfaces.
func TestSameHost(t *testing.T) {
	for _, tc := range []struct {
		peer, own string
		want      bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.9.9.9", "127.0.0.1", true},
		{"192.0.2.1", "192.0.2.1", true},
		{"::1", "::1", true},
	} {
		if got := sameHost(netip.MustParseAddr(tc.peer), netip.MustParseAddr(tc.own)); got != tc.want {
			t.Errorf("peer %s, own %s: %v, want %v", tc.peer, tc.own, got, tc.want)
		}
	}
	if !sameHost(netip.Addr{}, netip.Addr{}) {
		t.Error("a peer of which nothing is known is taken for one elsewhere")
	}
}

func nativeBytes(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// TestRouteIsLocal reads answers of every shape.
func TestRouteIsLocal(t *testing.T) {
	answer := func(kind uint16, body ...byte) []byte {
		b := routeRequest(netip.MustParseAddr("192.0.2.1"), netip.Addr{})[:unix.SizeofNlMsghdr]
		b = append(b, body...)
		b[0], b[1], b[2], b[3] = 0, 0, 0, 0
		put := func(at int, v uint32) { copy(b[at:], nativeBytes(v)) }
		put(0, uint32(len(b)))
		copy(b[4:6], nativeBytes(uint32(kind))[:2])
		return b
	}
	route := func(kind byte, attrs ...byte) []byte {
		return append([]byte{unix.AF_INET, 32, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0}, attrs...)
	}
	oif := func(index byte) []byte {
		return append(append(nativeBytes(8)[:2], nativeBytes(unix.RTA_OIF)[:2]...), nativeBytes(uint32(index))...)
	}
	for _, tc := range []struct {
		name   string
		answer []byte
		local  bool
		fails  bool
	}{
		{"local", answer(unix.RTM_NEWROUTE, route(unix.RTN_LOCAL)...), true, false},
		{"through lo", answer(unix.RTM_NEWROUTE, route(unix.RTN_UNICAST, oif(1)...)...), true, false},
		{"through a device", answer(unix.RTM_NEWROUTE, route(unix.RTN_UNICAST, oif(7)...)...), false, false},
		{"no device", answer(unix.RTM_NEWROUTE, route(unix.RTN_UNICAST)...), false, true},
		{"no route", answer(unix.NLMSG_ERROR, nativeBytes(uint32(0xffffff9b))...), false, true},
		{"cut", answer(unix.RTM_NEWROUTE, 1, 2, 3, 4), false, true},
		{"nothing", nil, false, true},
	} {
		local, err := routeIsLocal(tc.answer)
		if local != tc.local || (err != nil) != tc.fails {
			t.Errorf("%s: %v, %v", tc.name, local, err)
		}
	}
}
