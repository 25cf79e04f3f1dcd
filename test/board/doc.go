// Package board boots emulated boards and drives them: a Debian kernel in
// QEMU, with a root file system made on the spot that holds the kernel modules
// wanted, an agent (package agent) as the first process, the program under
// test and a client.
//
//	m, err := board.Boot(ctx, board.Spec{
//		Board:   board.ARMv7_612,
//		Engine:  board.Cryptd,
//		Program: "build/arm/uringhttpd",
//		Cache:   dir,
//	})
//	...
//	defer func() { err = errors.Join(err, m.Close()) }()
//
// The machine has no clock of its own, no disk and no way out; what the host
// forwards is the only way in. Close fails if the kernel complained.
//
// A board without virtio (IMX8MP_612) is driven over its own network device, and
// one whose kernel has no cryptd has Pcrypt for an asynchronous engine. Held and
// AwaitHeld tell whether an idle daemon is back at its base line.
//
// With Spec.Disk there is a disk, with ext4, that Disk breaks, slows down and hangs;
// TokenBucket and FairQueue put a queue that drops packets before the loopback device.
//
// The package needs QEMU (qemu-system-x86, qemu-system-arm, ipxe-qemu), apt,
// dpkg-deb, mke2fs, xz and the go command; it runs without privileges. Its tests that
// boot are behind the build tag board:
//
//	go test -tags board ./test/board/...
//
// To look into a failing run, log Machine.KernelLog and Process.Output, or run
// one command in the guest with Machine.Run.
package board
