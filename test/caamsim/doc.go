// Package caamsim builds a kernel module that stands in for NXP's CAAM crypto
// engine: it does gcm(aes) under the name and with the flags of CAAM's driver, and
// completes late, out of order, wrongly or never, as it is told. README.md says what
// it models, and what not.
//
// The module is built when a test wants it, against Debian's headers of the kernel
// that the test boots, with Debian's (cross) compiler, and kept in the cache directory.
// The error of a failing build holds the command to run by hand.
package caamsim
