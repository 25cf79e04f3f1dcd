// Package debian tests the files of make install on a Debian machine: systemd, Debian's kernel, the
// sandbox of the units, an unprivileged user, and the key of the first start. It has only tests,
// with the build tag debian:
//
//	go test -tags debian ./test/debian -v -timeout 30m
//
// The test creates a Debian root once, with mmdebstrap, and keeps it in the user's cache directory.
// It boots the root in QEMU. A second disk, a bare tar archive, has the installed files and the
// script testdata/prove.sh. The script runs in the machine and writes one line per check to the
// second serial port. The machine has no network.
//
// The test needs mmdebstrap, e2fsprogs, qemu-system-x86, ipxe-qemu, make, and either root or
// unprivileged user namespaces.
//
// To debug a failing run, read the journal after the checks in the test's log; -keep leaves the disk
// for a boot by hand.
package debian
