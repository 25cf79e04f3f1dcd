package main

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

// network enables lo, with an address that looks like another machine's, and eth0 with the
// given address. There is no default route: the host's forwards come from the board's own
// network, and a board under test must not reach others.
func network(address string) error {
	prefix, err := netip.ParsePrefix(address)
	if err != nil {
		return fmt.Errorf("address of eth0: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := up(fd, "lo"); err != nil {
		return err
	}
	other := netip.MustParseAddr(wire.OtherHost).As4()
	if err := setAddress(fd, unix.SIOCSIFADDR, "lo:1", other[:]); err != nil {
		return fmt.Errorf("address of lo: %w", err)
	}
	var mask [4]byte
	for i := range prefix.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	addr := prefix.Addr().As4()
	if err := setAddress(fd, unix.SIOCSIFADDR, "eth0", addr[:]); err != nil {
		return fmt.Errorf("address of eth0: %w; is virtio_net loaded?", err)
	}
	if err := setAddress(fd, unix.SIOCSIFNETMASK, "eth0", mask[:]); err != nil {
		return fmt.Errorf("mask of eth0: %w", err)
	}
	return up(fd, "eth0")
}

func setAddress(fd int, request uint, name string, addr []byte) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := ifr.SetInet4Addr(addr); err != nil {
		return err
	}
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, request, ifr))
}

func up(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("flags of %s: %w", name, err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}
