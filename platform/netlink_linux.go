package platform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NETLINK_CRYPTO (crypto/crypto_user.c) lists the same algorithms as /proc/crypto, and
// their flags, which say what is hardware. Anybody may ask.

// registered is an algorithm as NETLINK_CRYPTO has it.
type registered struct {
	name, driver string
	priority     int
	flags        uint32
}

const (
	netlinkTimeout = 5 * time.Second
	netlinkBuffer  = 64 << 10 // the most that the kernel puts into one answer
	maxRegistered  = 10_000   // algorithms; a board has some two hundred
)

var errNetlink = errors.New("what came is no list of algorithms")

// readRegistered asks the kernel for all its algorithms.
func readRegistered() ([]registered, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, netlinkCrypto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(netlinkTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	request := make([]byte, netlinkHeader+int(unsafe.Sizeof(cryptoUserAlg{})))
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], cryptoGetAlg)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var all []registered
	buf := make([]byte, netlinkBuffer)
	for done := false; !done; {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // it is not the kernel's
		}
		if all, done, err = parseRegistered(all, buf[:n]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// parseRegistered appends the algorithms of one answer to all. done: it was the last.
func parseRegistered(all []registered, data []byte) (_ []registered, done bool, err error) {
	for len(data) > 0 {
		if len(data) < netlinkHeader {
			return nil, false, errNetlink
		}
		length, kind := binary.NativeEndian.Uint32(data), binary.NativeEndian.Uint16(data[4:])
		if length < netlinkHeader || uint64(length) > uint64(len(data)) {
			return nil, false, errNetlink
		}
		payload := data[netlinkHeader:length]
		data = data[min(align4(int(length)), len(data)):]
		switch kind {
		case unix.NLMSG_DONE:
			return all, true, nil
		case unix.NLMSG_ERROR:
			if len(payload) < 4 {
				return nil, false, errNetlink
			}
			return nil, false, os.NewSyscallError("netlink", unix.Errno(-int32(binary.NativeEndian.Uint32(payload))))
		case cryptoGetAlg:
			r, err := parseAlgorithm(payload)
			if err != nil || len(all) == maxRegistered {
				return nil, false, errNetlink
			}
			all = append(all, r)
		}
	}
	return all, false, nil
}

// parseAlgorithm reads a struct crypto_user_alg, and the priority behind it.
func parseAlgorithm(payload []byte) (r registered, err error) {
	var a cryptoUserAlg
	size := int(unsafe.Sizeof(a))
	if len(payload) < size {
		return r, errNetlink
	}
	text := func(offset uintptr) string {
		name, _, _ := strings.Cut(string(payload[offset:][:cryptoName]), "\x00")
		return name
	}
	r.name, r.driver = text(unsafe.Offsetof(a.name)), text(unsafe.Offsetof(a.driver))
	r.flags = binary.NativeEndian.Uint32(payload[unsafe.Offsetof(a.flags):])
	for rest := payload[size:]; len(rest) >= attributeHeader; {
		length, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if length < attributeHeader || length > len(rest) {
			return r, errNetlink
		}
		if kind == cryptoPriority && length >= attributeHeader+4 {
			r.priority = int(int32(binary.NativeEndian.Uint32(rest[attributeHeader:])))
		}
		rest = rest[min(align4(length), len(rest)):]
	}
	return r, nil
}

func align4(n int) int { return (n + 3) &^ 3 }

// markHardware tells of each algorithm whether hardware that programs cannot use by
// themselves computes it, or a part of it: the flags of a template are not those of its
// parts, which its driver's name has in parentheses, as in
// gcm_base(ctr-aes-caam,ghash-neon).
func markHardware(all []Algorithm, known []registered) {
	hardware := map[string]bool{}
	for _, r := range known {
		hardware[r.driver] = hardware[r.driver] || r.flags&algKernelDriverOnly != 0
	}
	for i := range all {
		a := &all[i]
		a.Hardware = hardware[a.Driver]
		for _, part := range strings.FieldsFunc(a.Driver, func(r rune) bool { return r == '(' || r == ')' || r == ',' }) {
			a.Hardware = a.Hardware || hardware[part]
		}
	}
}

// netlinkFeature explains why the kernel's flags cannot be had. The errnos are those of
// netlink_create in net/netlink/af_netlink.c.
func netlinkFeature(err error) Feature {
	var errno unix.Errno
	errors.As(err, &errno)
	switch {
	case err == nil:
		return Feature{Usable: true}
	case errno == unix.EPROTONOSUPPORT:
		return Feature{
			Reason: "the kernel has no NETLINK_CRYPTO, or none in this network namespace",
			Remedy: "modprobe crypto_user; if there is no such module, build the kernel with CONFIG_CRYPTO_USER=m or y",
		}
	case errno == unix.EAFNOSUPPORT || errno == unix.EPERM || errno == unix.EACCES:
		return Feature{
			Reason: fmt.Sprintf("this process may not use AF_NETLINK: %v", errno),
			Remedy: "allow AF_NETLINK in RestrictAddressFamilies= of the unit",
		}
	}
	return Feature{Inconclusive: true, Reason: err.Error(), Remedy: "ask again"}
}
