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

// NETLINK_CRYPTO (crypto/crypto_user.c) lists the same algorithms as /proc/crypto with their
// flags, which mark hardware drivers. Listing needs no privilege.

// registered is an algorithm in the list of NETLINK_CRYPTO.
type registered struct {
	driver string
	flags  uint32
}

const (
	netlinkTimeout = 5 * time.Second
	// instantiateTimeout covers loading the modules of a new algorithm and its self-test.
	instantiateTimeout = 30 * time.Second
	netlinkBuffer      = 64 << 10 // bytes, the kernel's maximum for one answer
	maxRegistered      = 10_000   // algorithms; a board has some two hundred
)

var errNetlink = errors.New("what came is no list of algorithms")

// readRegistered returns all algorithms of the kernel.
func readRegistered() ([]registered, error) {
	return askNetlink(netlinkTimeout, cryptoGetAlg, unix.NLM_F_DUMP, make([]byte, unsafe.Sizeof(cryptoUserAlg{})))
}

// setPriority sets the priority of a driver for the whole system.
func setPriority(driver string, priority int) error {
	if len(driver) >= cryptoName {
		return fmt.Errorf("platform: %s: %w", driver, unix.ENAMETOOLONG)
	}
	payload := make([]byte, unsafe.Sizeof(cryptoUserAlg{}))
	copy(payload[unsafe.Offsetof(cryptoUserAlg{}.driver):], driver)
	payload = binary.NativeEndian.AppendUint16(payload, attributeHeader+4)
	payload = binary.NativeEndian.AppendUint16(payload, cryptoPriority)
	payload = binary.NativeEndian.AppendUint32(payload, uint32(int32(priority)))
	if err := change(netlinkTimeout, cryptoUpdateAlg, payload); err != nil {
		return fmt.Errorf("platform: the priority of %s cannot be set: %w", driver, err)
	}
	return nil
}

// instantiate has the kernel create a gcm(aes) from synchronous parts. It is no error if there
// is such a driver already.
func (kernelCrypto) instantiate() error {
	payload := make([]byte, unsafe.Sizeof(cryptoUserAlg{}))
	copy(payload[unsafe.Offsetof(cryptoUserAlg{}.name):], gcmAES)
	binary.NativeEndian.PutUint32(payload[unsafe.Offsetof(cryptoUserAlg{}.typ):], algTypeAEAD)
	binary.NativeEndian.PutUint32(payload[unsafe.Offsetof(cryptoUserAlg{}.mask):], algTypeMask|algAsync)
	if err := change(instantiateTimeout, cryptoNewAlg, payload); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("platform: a synchronous %s cannot be had: %w", gcmAES, err)
	}
	return nil
}

// change sends a message that changes the kernel's algorithms. Its error is ErrNotAllowed without
// CAP_NET_ADMIN.
func change(timeout time.Duration, kind uint16, payload []byte) error {
	_, err := askNetlink(timeout, kind, unix.NLM_F_ACK, payload)
	if errors.Is(err, unix.EPERM) {
		return ErrNotAllowed
	}
	return err
}

// kernelCrypto is the running kernel.
type kernelCrypto struct{}

func (kernelCrypto) setPriority(driver string, priority int) error {
	return setPriority(driver, priority)
}

func (kernelCrypto) algorithms() ([]Algorithm, error) {
	all, err := readCrypto()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("platform: /proc/crypto is not to be seen; ProcSubset=pid in the unit would hide it")
	}
	known, err := readRegistered() // after /proc/crypto, so that it contains all of its entries
	if f := netlinkFeature(err); !f.Usable {
		return nil, fmt.Errorf("platform: %s; %s", f.Reason, f.Remedy)
	}
	markHardware(all, known)
	return named(all, gcmAES), nil
}

// askNetlink sends a message to NETLINK_CRYPTO and returns the algorithms in the answer. The
// kernel executes the request inside the system call that sends it, serialized for the whole
// system, and may load modules and wait for a driver's self-test. The goroutine and its socket
// are therefore abandoned if the request takes longer than timeout.
func askNetlink(timeout time.Duration, kind, flags uint16, payload []byte) ([]registered, error) {
	type answer struct {
		all []registered
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		all, err := talkNetlink(timeout, kind, flags, payload)
		answers <- answer{all, err}
	}()
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case a := <-answers:
		return a.all, a.err
	case <-late.C:
		return nil, fmt.Errorf("NETLINK_CRYPTO: %w", ErrNoAnswer)
	}
}

func talkNetlink(timeout time.Duration, kind, flags uint16, payload []byte) (all []registered, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, netlinkCrypto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	tv := unix.NsecToTimeval(timeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	request := make([]byte, netlinkHeader)
	binary.NativeEndian.PutUint32(request, uint32(netlinkHeader+len(payload)))
	binary.NativeEndian.PutUint16(request[4:], kind)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|flags)
	if err := unix.Sendto(fd, append(request, payload...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
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
			continue // the sender is not the kernel
		}
		if all, done, err = parseRegistered(all, buf[:n]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// parseRegistered appends the algorithms of an answer to all. done reports whether it was the
// last answer.
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
		case unix.NLMSG_DONE, unix.NLMSG_ERROR: // both end with an errno, or 0
			if len(payload) < 4 {
				return nil, false, errNetlink
			}
			if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(payload))); errno != 0 {
				return nil, false, os.NewSyscallError("netlink", errno)
			}
			return all, true, nil
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

// parseAlgorithm reads a struct crypto_user_alg. It ignores the attributes that follow.
func parseAlgorithm(payload []byte) (r registered, err error) {
	var a cryptoUserAlg
	if len(payload) < int(unsafe.Sizeof(a)) {
		return r, errNetlink
	}
	r.driver, _, _ = strings.Cut(string(payload[unsafe.Offsetof(a.driver):][:cryptoName]), "\x00")
	r.flags = binary.NativeEndian.Uint32(payload[unsafe.Offsetof(a.flags):])
	return r, nil
}

func align4(n int) int { return (n + 3) &^ 3 }

// markHardware sets Hardware for each algorithm that, or a part of which, is computed by
// hardware that programs cannot use directly. A template does not inherit the flag of its
// parts, so they are looked up by the names in parentheses in its driver's name, as in
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

// netlinkFeature explains why the kernel's flags cannot be read. The errnos are those of
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
