// Package caamsim builds a kernel module that models NXP's CAAM crypto engine: it computes
// gcm(aes) under the name and with the flags of CAAM's driver, and completes requests late, out
// of order, wrongly or never, as its parameters say. README.md lists the properties that it
// models, and those that it does not.
//
// The module is built when a test needs it, against Debian's headers of the kernel that the test
// boots, with Debian's (cross) compiler, and kept in the cache directory. The error of a failing
// build contains the command to run by hand.
package caamsim
