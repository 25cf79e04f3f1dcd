// Package config reads the daemon's configuration: YAML in, a checked Config
// out, or every problem at once, each with the line it stands in.
//
// It does no other I/O than reading that one file. Whether a certificate can be
// opened or an address bound is for others to find out; Config.Problem gives
// them the line to report it with.
//
// # Strictness
//
// A configuration that is not understood completely is refused. An unknown or
// repeated key, a value of the wrong type or out of range, a second document,
// an anchor, an alias, a merge key or an explicit tag is a Problem. Numbers are
// decimal, booleans are true and false; what YAML 1.1 read as a boolean (yes,
// no, on, off) or as an octal number (017) is refused with what to write
// instead, except where off is a word of its own, as in `kernel: off`.
//
// A Config may have Warnings: lines of the same form about values that
// are allowed, but probably not meant. They stop nothing.
//
// Values for features that this version does not have are checked like all
// others and then refused as "not built yet", so that nobody believes a limit
// to be in force that is not.
//
// # Paths
//
// A relative path counts from the folder of the configuration file and comes
// out absolute. "credential:NAME" (LoadCredential= of systemd.exec(5)) and, for
// an address, "systemd:NAME" (FileDescriptorName= of systemd.socket(5)) come out
// as written, their names checked.
//
// # Debugging
//
// `uringhttpd check -config FILE` prints what Load returns. The table in
// parse_test.go shows each message with the file that causes it.
package config
