// Package cpio writes archives in the "newc" format, which is what the Linux
// kernel unpacks as its initial root file system
// (Documentation/driver-api/early-userspace/buffer-format.rst).
//
// It writes only what a test board needs: directories, regular files and device
// nodes, all owned by root. It does not read archives. To look at one by hand:
// cpio -tv < FILE.
package cpio
