// Package config reads the daemon's configuration. It turns a YAML file into a checked
// Config, or returns every problem at once, each with its line number.
//
// It does no other I/O than reading that file. The caller finds out whether a certificate
// can be opened or an address can be bound; Config.Problem supplies the line number for its
// report.
//
// # Strictness
//
// A configuration that is not understood completely is rejected. An unknown or
// repeated key, a value of the wrong type or out of range, a second document,
// an anchor, an alias, a merge key or an explicit tag is a Problem. Numbers are
// decimal, booleans are true and false; YAML 1.1's other booleans (yes, no, on, off) and
// octal numbers (017) are rejected with the correct spelling, except where off is a value of
// its own, as in `kernel: off`.
//
// A Config may have Warnings: lines of the same form about values that
// are allowed, but probably not intended. They do not prevent a start.
//
// Values for features that this version does not have are checked like all
// others and then rejected as "not implemented yet", so that no user relies on a limit that is not
// in force.
//
// # Paths
//
// A relative path is resolved against the directory of the configuration file and returned
// as an absolute path. "credential:NAME" (LoadCredential= of systemd.exec(5)) and, for
// an address, "systemd:NAME" (FileDescriptorName= of systemd.socket(5)) are returned as
// written, after a check of the name.
//
// # Debugging
//
// `uringhttpd check -config FILE` prints the result of Load. The table in
// problem_test.go shows each message with the file that causes it.
package config
