package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

// From linux/pkt_sched.h, linux/rtnetlink.h and linux/gen_stats.h.
const (
	rootQueue     = 0xffffffff // TC_H_ROOT
	rootHandle    = 0x10000    // 1:0
	queueMessage  = 20         // size of struct tcmsg
	queueStats    = 3          // TCA_STATS_QUEUE
	droppedOffset = 8          // in struct gnet_stats_queue
)

// setQueue sets or removes the queueing discipline of a device's output.
func setQueue(a wire.Queue) error {
	iface, err := net.InterfaceByName(a.Device)
	if err != nil {
		return err
	}
	var attributes []byte
	request, flags := uint16(unix.RTM_DELQDISC), uint16(unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if a.Kind != "" {
		request, flags = unix.RTM_NEWQDISC, flags|unix.NLM_F_CREATE|unix.NLM_F_REPLACE
		attributes = appendAttribute(attributes, unix.TCA_KIND, append([]byte(a.Kind), 0))
		attributes = appendAttribute(attributes, unix.TCA_OPTIONS, a.Options)
	}
	_, err = routeNetlink(request, flags, iface.Index, attributes)
	if err != nil {
		return fmt.Errorf("queue %q of %s: %w", a.Kind, a.Device, err)
	}
	return nil
}

// dropped returns how many packets the root queue of a device has dropped.
func dropped(a wire.Queue) (any, error) {
	iface, err := net.InterfaceByName(a.Device)
	if err != nil {
		return nil, err
	}
	// Without NLM_F_ECHO the kernel answers only to other listeners.
	answer, err := routeNetlink(unix.RTM_GETQDISC, unix.NLM_F_REQUEST|unix.NLM_F_ECHO, iface.Index, nil)
	if err != nil {
		return nil, fmt.Errorf("queue of %s: %w", a.Device, err)
	}
	if len(answer) < queueMessage {
		return nil, errors.New("a netlink answer is too short")
	}
	stats := attribute(attribute(answer[queueMessage:], unix.TCA_STATS2), queueStats)
	if len(stats) < droppedOffset+4 {
		return nil, fmt.Errorf("the queue of %s has no statistics", a.Device)
	}
	return wire.Dropped{Packets: int64(binary.NativeEndian.Uint32(stats[droppedOffset:]))}, nil
}

// routeNetlink makes one request about the root queue of a device, and returns the data after
// the header of the first message of the answer; nothing if the answer is an
// acknowledgement.
func routeNetlink(request, flags uint16, device int, attributes []byte) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	const header = unix.SizeofNlMsghdr
	b := make([]byte, header+queueMessage, header+queueMessage+len(attributes))
	b = append(b, attributes...)
	e := binary.NativeEndian
	e.PutUint32(b, uint32(len(b)))
	e.PutUint16(b[4:], request)
	e.PutUint16(b[6:], flags)
	e.PutUint32(b[header+4:], uint32(device))
	if request != unix.RTM_GETQDISC {
		e.PutUint32(b[header+8:], rootHandle)
	}
	e.PutUint32(b[header+12:], rootQueue)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 64<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return nil, os.NewSyscallError("recvfrom", err)
	}
	if n < header+4 {
		return nil, errors.New("a netlink answer is too short")
	}
	kind := e.Uint16(answer[4:])
	answer = answer[header:min(n, int(e.Uint32(answer)))]
	if kind != unix.NLMSG_ERROR {
		return answer, nil
	}
	if errno := -int32(e.Uint32(answer)); errno != 0 {
		return nil, unix.Errno(errno)
	}
	return nil, nil
}

// appendAttribute appends an attribute, aligned.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	const header = 4
	b = binary.NativeEndian.AppendUint16(b, uint16(header+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// attribute returns the value of an attribute, or nil if it is absent.
func attribute(b []byte, kind uint16) []byte {
	const header, kinds = 4, 0x3fff // without NLA_F_NESTED
	for len(b) >= header {
		size := int(binary.NativeEndian.Uint16(b))
		if size < header || size > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&kinds == kind {
			return b[header:size]
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}
