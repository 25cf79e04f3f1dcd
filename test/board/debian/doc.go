// Package debian gets a kernel for an emulated board out of Debian's archive:
// its image and those of its modules a board may want; and a newer QEMU where a
// board needs one.
//
// Packages are downloaded by apt-get with a state of its own, so it needs no
// root and touches nothing of the machine's, for foreign architectures too.
// The mirror, proxies and credentials are those the machine is configured
// with; signatures are verified by apt against Debian's keyring. What is kept
// lands in a cache directory in one rename; once it is there, neither the network
// nor apt is used again. To fetch anew, remove the cache directory.
//
// pins.txt has the versions; make pins moves them. An archive keeps few old versions: if
// it has dropped one, the newest is used instead, and a line on stderr says so.
//
// It is not a package manager: dependencies of packages are ignored.
package debian
