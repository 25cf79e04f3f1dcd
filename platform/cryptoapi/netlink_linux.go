package cryptoapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
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

var (
	// ErrNotAllowed is wrapped by the error of a change for which this process lacks CAP_NET_ADMIN.
	ErrNotAllowed = errors.New("this needs CAP_NET_ADMIN")

	errNetlink = errors.New("the answer of NETLINK_CRYPTO is not a list of algorithms")
	errTimeout = errors.New("no answer in time")
)

// readRegistered returns all algorithms of the kernel.
func readRegistered() ([]registered, error) {
	return askNetlink(netlinkTimeout, cryptoGetAlg, unix.NLM_F_DUMP, make([]byte, unsafe.Sizeof(cryptoUserAlg{})))
}

// SetPriority sets the priority of a driver for the whole system. The kernel also unregisters the
// algorithms that are built from the driver, such as some of IPsec's, and recreates them at their
// next use. The error wraps ErrNotAllowed without CAP_NET_ADMIN.
func SetPriority(driver string, priority int) error {
	if len(driver) >= cryptoName {
		return fmt.Errorf("cryptoapi: %s: %w", driver, unix.ENAMETOOLONG)
	}
	payload := make([]byte, unsafe.Sizeof(cryptoUserAlg{}))
	copy(payload[unsafe.Offsetof(cryptoUserAlg{}.driver):], driver)
	payload = binary.NativeEndian.AppendUint16(payload, attributeHeader+4)
	payload = binary.NativeEndian.AppendUint16(payload, cryptoPriority)
	payload = binary.NativeEndian.AppendUint32(payload, uint32(int32(priority)))
	if err := change(netlinkTimeout, cryptoUpdateAlg, payload); err != nil {
		return fmt.Errorf("cryptoapi: could not set the priority of %s: %w", driver, err)
	}
	return nil
}

// Instantiate makes the kernel create a gcm(aes) from synchronous parts. It does nothing if there
// is such a driver already. The error wraps ErrNotAllowed without CAP_NET_ADMIN.
func Instantiate() error {
	payload := make([]byte, unsafe.Sizeof(cryptoUserAlg{}))
	copy(payload[unsafe.Offsetof(cryptoUserAlg{}.name):], ktls.AlgorithmGCM)
	binary.NativeEndian.PutUint32(payload[unsafe.Offsetof(cryptoUserAlg{}.typ):], algTypeAEAD)
	binary.NativeEndian.PutUint32(payload[unsafe.Offsetof(cryptoUserAlg{}.mask):], algTypeMask|algAsync)
	if err := change(instantiateTimeout, cryptoNewAlg, payload); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cryptoapi: could not create a synchronous %s: %w", ktls.AlgorithmGCM, err)
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
		return nil, fmt.Errorf("NETLINK_CRYPTO: %w", errTimeout)
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

// MarkHardware sets Hardware for each algorithm, by the flags that NETLINK_CRYPTO reports now. all
// must have been read before, so that each of its entries is in the newer list. If NETLINK_CRYPTO
// cannot be used, MarkHardware changes nothing; the error then wraps the errno, or says that the
// kernel did not answer within five seconds.
func MarkHardware(all []Algorithm) error {
	known, err := readRegistered()
	if err != nil {
		return err
	}
	markHardware(all, known)
	return nil
}

// markHardware sets Hardware for each algorithm that is computed, in whole or in part, by
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
