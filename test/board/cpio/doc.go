// Package cpio writes archives in the "newc" format, which the Linux kernel unpacks as its
// initial root file system (Documentation/driver-api/early-userspace/buffer-format.rst).
//
// It writes only the kinds of files that a test board needs: directories, regular files and
// device nodes, all owned by root. It does not read archives. To inspect an archive:
// cpio -tv < FILE.
package cpio
