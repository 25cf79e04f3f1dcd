package cryptoapi

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AF_ALG (Documentation/crypto/userspace-if.rst) lets a program use a driver by name, even a
// driver that the kernel would not select. Newer kernels expose only a few drivers to it.

var (
	// ErrNoAFALG is wrapped by the error for a driver that AF_ALG does not reach.
	ErrNoAFALG = errors.New("cryptoapi: the driver is not reachable over AF_ALG")
	// ErrWrong is wrapped by the error for a driver whose output differs from the known answer.
	ErrWrong = errors.New("cryptoapi: the output is wrong")
)

// A DriverAnswer is the result of a known-answer test of a gcm(aes) driver over AF_ALG.
type DriverAnswer struct {
	Driver string `json:"driver"`
	Asked  bool   `json:"asked"`            // AF_ALG reaches it
	Right  bool   `json:"right"`            // its output was the known answers
	Wrong  bool   `json:"wrong,omitempty"`  // its output differed; neither is set if it failed or did not answer
	Reason string `json:"reason,omitempty"` // why it was not asked, not right, or not measured
	// MiBPerSecond is the throughput with records of 16 KiB, one at a time, each copied twice; 0 if
	// it was not measured.
	MiBPerSecond float64 `json:"mib_per_second,omitempty"`
}

// String returns one line of text for people, without a newline.
func (a *DriverAnswer) String() string {
	switch {
	case !a.Asked:
		return fmt.Sprintf("%s: not tested: %s", a.Driver, a.Reason)
	case a.Wrong:
		return fmt.Sprintf("%s: wrong: %s", a.Driver, a.Reason)
	case !a.Right:
		return fmt.Sprintf("%s: no answer: %s", a.Driver, a.Reason)
	case a.MiBPerSecond == 0:
		return fmt.Sprintf("%s: right; not measured: %s", a.Driver, a.Reason)
	}
	return fmt.Sprintf("%s: right; %.1f MiB/s, one record at a time", a.Driver, a.MiBPerSecond)
}

// A gcmVector is a known-answer test vector of AES-GCM.
type gcmVector struct{ key, iv, additional, plain, sealed string } // hexadecimal; the tag follows the ciphertext

// gcmVectors are test cases 2, 4, 14 and 16 of D. McGrew and J. Viega, "The Galois/Counter Mode of
// Operation (GCM)", submission to NIST, 2005, appendix B.
var gcmVectors = []gcmVector{
	{
		"00000000000000000000000000000000", "000000000000000000000000", "", "00000000000000000000000000000000",
		"0388dace60b6a392f328c2b971b2fe78" + "ab6e47d42cec13bdf53a67b21257bddf",
	},
	{
		"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		"42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091" +
			"5bc94fbc3221a5db94fae95ae7121a47",
	},
	{
		"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "00000000000000000000000000000000",
		"cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919",
	},
	{
		"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" +
			"76fc6ece0f4e1768cddf8853bb2d551b",
	},
}

// KnownAnswers runs the known-answer tests with a gcm(aes) driver, given by its name in
// /proc/crypto. The error wraps ErrNoAFALG if AF_ALG does not reach the driver and ErrWrong if its
// output differs from the known answer; any other error is the driver's own. With a dead engine
// KnownAnswers never returns, and its thread cannot be killed.
func KnownAnswers(driver string) error {
	for i, v := range gcmVectors {
		var parts [5][]byte
		for j, text := range []string{v.key, v.iv, v.additional, v.plain, v.sealed} {
			b, err := hex.DecodeString(text)
			if err != nil {
				return fmt.Errorf("cryptoapi: %w", err)
			}
			parts[j] = b
		}
		a, err := openAEAD(driver, parts[0])
		if err != nil {
			return err
		}
		got, err := a.seal(parts[1], parts[2], parts[3], nil)
		a.close()
		switch {
		case err != nil:
			return err
		case !bytes.Equal(got, parts[4]):
			return fmt.Errorf("%w: known answer %d: %x, want %x", ErrWrong, i, got, parts[4])
		}
	}
	return nil
}

// MeasureDriver encrypts with a gcm(aes) driver until limit has passed, one record of 16 KiB at a
// time, and returns the number of bytes and the time taken. It copies each record twice, unlike
// kernel TLS.
func MeasureDriver(driver string, limit time.Duration) (bytes int64, took time.Duration, err error) {
	a, err := openAEAD(driver, make([]byte, 16))
	if err != nil {
		return 0, 0, err
	}
	defer a.close()
	iv, additional, plain := make([]byte, 12), make([]byte, 5), make([]byte, 16<<10)
	buf := make([]byte, 0, len(additional)+len(plain)+gcmTag)
	for start := time.Now(); took < limit; took = time.Since(start) {
		binary.BigEndian.PutUint64(iv[4:], uint64(bytes))
		if _, err := a.seal(iv, additional, plain, buf); err != nil {
			return bytes, took, err
		}
		bytes += int64(len(plain))
	}
	return bytes, took, nil
}

const gcmTag = 16

// aead is a driver with a key set.
type aead struct{ driver, key int } // descriptors: the bound socket, and the accepted socket for operations

func openAEAD(driver string, key []byte) (*aead, error) {
	unreachable := func(err error) error { return fmt.Errorf("%w: %s: %w", ErrNoAFALG, driver, err) }
	fd, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, unreachable(os.NewSyscallError("socket", err))
	}
	a := &aead{fd, -1}
	if err := unix.Bind(fd, &unix.SockaddrALG{Type: "aead", Name: driver}); err != nil {
		a.close()
		return nil, unreachable(os.NewSyscallError("bind", err))
	}
	err = os.NewSyscallError("ALG_SET_KEY", unix.SetsockoptString(fd, unix.SOL_ALG, unix.ALG_SET_KEY, string(key)))
	if err == nil { // the length of the option is the tag's length; its value is ignored
		err = os.NewSyscallError("ALG_SET_AEAD_AUTHSIZE", unix.SetsockoptString(fd, unix.SOL_ALG, unix.ALG_SET_AEAD_AUTHSIZE, string(make([]byte, gcmTag))))
	}
	if err == nil { // unix.Accept requires an address, and AF_ALG has none
		n, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		if a.key = int(n); errno != 0 {
			a.key, err = -1, os.NewSyscallError("accept4", errno)
		}
	}
	if err != nil {
		a.close()
		return nil, fmt.Errorf("cryptoapi: %s: %w", driver, err)
	}
	return a, nil
}

func (a *aead) close() {
	if a.key >= 0 {
		unix.Close(a.key)
	}
	unix.Close(a.driver)
}

// seal encrypts plain and returns the ciphertext and its tag, in buf if its capacity also covers
// the additional data.
func (a *aead) seal(iv, additional, plain, buf []byte) ([]byte, error) {
	var control []byte
	for _, c := range []struct {
		kind  int32
		value []byte
	}{
		{unix.ALG_SET_OP, binary.NativeEndian.AppendUint32(nil, unix.ALG_OP_ENCRYPT)},
		{unix.ALG_SET_IV, append(binary.NativeEndian.AppendUint32(nil, uint32(len(iv))), iv...)}, // struct af_alg_iv
		{unix.ALG_SET_AEAD_ASSOCLEN, binary.NativeEndian.AppendUint32(nil, uint32(len(additional)))},
	} {
		control = appendControl(control, unix.SOL_ALG, c.kind, c.value)
	}
	all := append(append(buf[:0], additional...), plain...)
	if _, err := unix.SendmsgN(a.key, all, control, nil, 0); err != nil {
		return nil, fmt.Errorf("cryptoapi: %w", os.NewSyscallError("sendmsg", err))
	}
	size := len(all) + gcmTag
	if cap(all) < size {
		all = make([]byte, size)
	}
	n, err := unix.Read(a.key, all[:size])
	if err != nil {
		return nil, fmt.Errorf("cryptoapi: %w", os.NewSyscallError("read", err))
	}
	return all[min(n, len(additional)):n], nil
}

// appendControl appends a control message (cmsg(3)).
func appendControl(b []byte, level, kind int32, value []byte) []byte {
	message := make([]byte, unix.CmsgSpace(len(value)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&message[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(value)))
	copy(message[unix.CmsgLen(0):], value)
	return append(b, message...)
}
