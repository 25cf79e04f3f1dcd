// Package debian proves that what make install puts on a Debian machine works
// there: real systemd, the real kernel, the units' sandbox, an unprivileged
// user, the first start's key. It has only tests, behind the build tag debian:
//
//	go test -tags debian ./test/debian -v -timeout 30m
//
// The test makes a Debian root once (mmdebstrap; kept in the user's cache
// directory), boots it in QEMU from a disk of its own, and hands it a second disk,
// a bare tar archive with what make install installs and the script
// testdata/prove.sh. The script runs in the machine and writes its verdicts, a
// line each, to the second serial port. Nothing in the machine reaches a network.
//
// It wants mmdebstrap, e2fsprogs, qemu-system-x86, ipxe-qemu, make, and either
// root or unprivileged user namespaces.
//
// To look into a failing run, read the journal that follows the verdicts in the
// test's log; -keep leaves the disk to boot by hand.
package debian
