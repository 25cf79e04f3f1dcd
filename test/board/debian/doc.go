// Package debian fetches a kernel for an emulated board from Debian's archive: its image and
// the modules that a board may need; and a newer QEMU where a board needs it.
//
// Packages are downloaded by apt-get with its own state, so no root privileges are needed and
// the machine is not changed, for foreign architectures either. The mirror, proxies and
// credentials are those of the machine's configuration; apt verifies signatures with Debian's
// keyring. Files are put into a cache directory by one rename; from then on, neither the
// network nor apt is used. To fetch anew, remove the cache directory.
//
// pins.txt has the versions; make pins moves them. An archive keeps few old versions: if it
// has dropped a pinned version, the newest is used instead, and a line on stderr reports it.
//
// The package is not a package manager: it ignores dependencies of packages.
package debian
