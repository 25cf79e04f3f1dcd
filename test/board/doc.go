// Package board boots emulated boards and drives them: a Debian kernel in QEMU, with a
// generated root file system that holds the kernel modules needed, an agent (package agent)
// as the first process, the program under test and a client.
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
// The machine has no clock of its own and no disk. Its network leads nowhere; the host
// reaches it only through forwarded ports. Close fails if the kernel logged a problem.
//
// A board without virtio (IMX8MP_612) is driven over its own network device. A board whose
// kernel has no cryptd uses Pcrypt as its asynchronous engine. Held and AwaitHeld report
// whether an idle daemon is back at its baseline.
//
// With Spec.Disk there is an ext4 disk that Disk breaks, slows down and hangs; TokenBucket
// and FairQueue put a queue that drops packets before the loopback device.
//
// The package needs QEMU (qemu-system-x86, qemu-system-arm, ipxe-qemu), apt,
// dpkg-deb, mke2fs, xz and the go command; it runs without privileges. Tests that
// boot a board have the build tag board:
//
//	go test -tags board ./test/board/...
//
// To debug a failing run, log Machine.KernelLog and Process.Output, or run a command in the
// guest with Machine.Run.
package board
