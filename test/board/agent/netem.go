package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

// Of include/uapi/linux/pkt_sched.h and rtnetlink.h.
const (
	tcRoot          = 0xffffffff // TC_H_ROOT
	tcaKind         = 1          // TCA_KIND
	tcaOptions      = 2          // TCA_OPTIONS
	netemLatency64  = 10         // TCA_NETEM_LATENCY64, ns
	netemJitter64   = 11         // TCA_NETEM_JITTER64, ns
	netemQueueLimit = 10_000     // packets
)

// netem gives a device a queue that drops and delays, or takes it away.
func netem(a wire.Netem) error {
	device, err := net.InterfaceByName(a.Device)
	if err != nil {
		return err
	}
	native := binary.NativeEndian
	// struct tcmsg: family and padding, ifindex, handle, parent, info.
	body := make([]byte, 4)
	body = native.AppendUint32(body, uint32(device.Index))
	body = native.AppendUint32(body, 0)
	body = native.AppendUint32(body, tcRoot)
	body = native.AppendUint32(body, 0)
	if a.Loss == 0 && a.Delay == 0 {
		err := rtnetlink(unix.RTM_DELQDISC, 0, body)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // it has none
			return nil
		}
		return err
	}
	// struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
	options := native.AppendUint32(nil, 0)
	options = native.AppendUint32(options, netemQueueLimit)
	options = native.AppendUint32(options, uint32(a.Loss*math.MaxUint32))
	options = append(options, make([]byte, 3*4)...)
	options = appendAttribute(options, netemLatency64, native.AppendUint64(nil, uint64(a.Delay.Nanoseconds())))
	options = appendAttribute(options, netemJitter64, native.AppendUint64(nil, uint64(a.Jitter.Nanoseconds())))
	body = appendAttribute(body, tcaKind, []byte("netem\x00"))
	body = appendAttribute(body, tcaOptions, options)
	if err := rtnetlink(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, body); err != nil {
		return fmt.Errorf("netem on %s: %w; is sch_netem loaded?", a.Device, err)
	}
	return nil
}

// appendAttribute adds a netlink attribute, padded to four bytes.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	const header = unix.SizeofRtAttr
	b = binary.NativeEndian.AppendUint16(b, uint16(header+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// rtnetlink sends one request and waits for its acknowledgement.
func rtnetlink(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	native := binary.NativeEndian
	message := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	message = native.AppendUint16(message, kind)
	message = native.AppendUint16(message, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	message = native.AppendUint32(message, 1) // sequence number
	message = native.AppendUint32(message, 0) // port: the kernel's choice
	if err := unix.Sendto(fd, append(message, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.SizeofNlMsghdr+4 || native.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("rtnetlink: an answer of %d bytes that is no acknowledgement", n)
	}
	if errno := -int32(native.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return os.NewSyscallError("rtnetlink", unix.Errno(errno))
	}
	return nil
}
