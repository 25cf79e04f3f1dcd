package main

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

// mapperControl is the device for the device mapper's ioctls, and mapperBlock the name of
// the only mapped device (linux/dm-ioctl.h).
const (
	mapperControl = "/dev/mapper/control"
	mapperBlock   = "/dev/dm-0"
	sector        = 512
)

// mapDevice gives a mapped device its table, which takes effect at once. It makes the device
// if it is absent.
func mapDevice(a wire.Map) error {
	if len(a.Targets) == 0 {
		return errors.New("a mapped device needs a target")
	}
	if _, err := os.Stat(mapperBlock); errors.Is(err, os.ErrNotExist) {
		if err := mapper(unix.DM_DEV_CREATE, a.Name, 0, nil); err != nil {
			return fmt.Errorf("create: %w", err)
		}
	}
	if err := mapper(unix.DM_TABLE_LOAD, a.Name, 0, a.Targets); err != nil {
		return fmt.Errorf("table %+v: %w (the kernel log says more)", a.Targets, err)
	}
	// The suspend does not wait for requests that the old table has in flight, and does not
	// make the file system write.
	if err := suspendDevice(wire.Suspend{Name: a.Name, Suspended: true}); err != nil {
		return err
	}
	return suspendDevice(wire.Suspend{Name: a.Name})
}

// suspendDevice makes a mapped device hold its requests, or continue.
func suspendDevice(a wire.Suspend) error {
	flags := uint32(unix.DM_NOFLUSH_FLAG | unix.DM_SKIP_LOCKFS_FLAG)
	if a.Suspended {
		flags |= unix.DM_SUSPEND_FLAG
	}
	if err := mapper(unix.DM_DEV_SUSPEND, a.Name, flags, nil); err != nil {
		return fmt.Errorf("suspended %t: %w", a.Suspended, err)
	}
	return nil
}

// mapper makes one ioctl of the device mapper.
func mapper(request uint, name string, flags uint32, targets []wire.Target) error {
	f, err := os.OpenFile(mapperControl, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const head, each = unix.SizeofDmIoctl, unix.SizeofDmTargetSpec
	size := head
	for _, t := range targets {
		size += targetSize(t)
	}
	words := make([]uint64, (size+7)/8) // aligned as the structures are
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	h := (*unix.DmIoctl)(unsafe.Pointer(&buf[0]))
	h.Version = [3]uint32{4, 0, 0}
	h.Data_size, h.Data_start = uint32(len(buf)), head
	h.Target_count, h.Flags = uint32(len(targets)), flags
	copy(h.Name[:len(h.Name)-1], name)
	at := head
	for _, t := range targets {
		spec := (*unix.DmTargetSpec)(unsafe.Pointer(&buf[at]))
		spec.Sector_start, spec.Length = uint64(t.Start/sector), uint64(t.Length/sector)
		spec.Next = uint32(targetSize(t))
		copy(spec.Target_type[:len(spec.Target_type)-1], t.Type)
		copy(buf[at+each:], t.Parameters)
		at += targetSize(t)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(h)))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

// targetSize returns the size of a target with its parameters, which end in a zero byte, and
// with the padding before the next target.
func targetSize(t wire.Target) int {
	return (unix.SizeofDmTargetSpec + len(t.Parameters) + 1 + 7) &^ 7
}

func mountDisk(a wire.Mount) error {
	if err := os.MkdirAll(a.Target, 0o755); err != nil {
		return err
	}
	flags := uintptr(0)
	if a.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(a.Source, a.Target, a.Type, flags, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s on %s: %w (the kernel log says more)", a.Source, a.Target, err)
	}
	return nil
}
