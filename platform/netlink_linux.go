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
	driver string
	flags  uint32
}

const (
	netlinkTimeout = 5 * time.Second
	// instantiateTimeout is for the modules, and the test, of what the kernel makes.
	instantiateTimeout = 30 * time.Second
	netlinkBuffer      = 64 << 10 // the most that the kernel puts into one answer
	maxRegistered      = 10_000   // algorithms; a board has some two hundred
)

var errNetlink = errors.New("what came is no list of algorithms")

// readRegistered asks the kernel for all its algorithms.
func readRegistered() ([]registered, error) {
	return askNetlink(netlinkTimeout, cryptoGetAlg, unix.NLM_F_DUMP, make([]byte, unsafe.Sizeof(cryptoUserAlg{})))
}

// setPriority sets a driver's priority, for the whole system.
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

// instantiate has the kernel make a gcm(aes) of synchronous parts. One that is there is
// no error.
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

// change sends a message that changes something.
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
	known, err := readRegistered() // later, so that it has all of them
	if f := netlinkFeature(err); !f.Usable {
		return nil, fmt.Errorf("platform: %s; %s", f.Reason, f.Remedy)
	}
	markHardware(all, known)
	return named(all, gcmAES), nil
}

// askNetlink sends a message to NETLINK_CRYPTO, and returns the algorithms that are
// answered. The kernel does what it is asked for inside the call that sends, one after
// the other for all who ask: it may load modules, and wait for a driver's test. So that is
// left behind, with its socket, if it takes longer.
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

// parseAlgorithm reads a struct crypto_user_alg. There are attributes behind it.
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
