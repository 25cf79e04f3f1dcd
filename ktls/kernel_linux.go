package ktls

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Kernel makes the system calls of Offload and a Meter on one TCP socket. FD is the
// real implementation; a test may use a fake.
type Kernel interface {
	SetULP() error                           // setsockopt(IPPROTO_TCP, TCP_ULP, "tls")
	SetTX(info []byte) error                 // setsockopt(SOL_TLS, TLS_TX), a struct tls12_crypto_info_*
	TXSequence(infoSize int) (uint64, error) // getsockopt(SOL_TLS, TLS_TX): the last member of the struct
	TCPInfo() (*unix.TCPInfo, error)         // getsockopt(IPPROTO_TCP, TCP_INFO)
	OutQueue() (int, error)                  // ioctl(SIOCOUTQ): bytes not acknowledged
}

// FD is the Kernel for a socket's descriptor. The errors of SetULP and SetTX are a bare
// unix.Errno; the errors of the other methods name the system call.
type FD int

// SetULP implements Kernel.
func (fd FD) SetULP() error {
	return unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_ULP, "tls")
}

// SetTX implements Kernel.
func (fd FD) SetTX(info []byte) error {
	return unix.SetsockoptString(int(fd), unix.SOL_TLS, tlsTX, string(info))
}

// TXSequence implements Kernel.
func (fd FD) TXSequence(infoSize int) (uint64, error) {
	var buf [maxInfoSize]byte
	n := uint32(infoSize)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_TLS, tlsTX,
		uintptr(unsafe.Pointer(&buf)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("ktls: %w", os.NewSyscallError("getsockopt TLS_TX", errno))
	}
	return binary.BigEndian.Uint64(buf[infoSize-sequenceSize : infoSize]), nil
}

// TCPInfo implements Kernel.
func (fd FD) TCPInfo() (*unix.TCPInfo, error) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return nil, fmt.Errorf("ktls: %w", os.NewSyscallError("getsockopt TCP_INFO", err))
	}
	return info, nil
}

// OutQueue implements Kernel.
func (fd FD) OutQueue() (int, error) {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	if err != nil {
		return 0, fmt.Errorf("ktls: %w", os.NewSyscallError("ioctl SIOCOUTQ", err))
	}
	return n, nil
}
