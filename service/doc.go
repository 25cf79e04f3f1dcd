// Package service is the daemon. It opens the files and listeners that a configuration names,
// decides at the start how connections are encrypted, runs the server until a signal ends it,
// and reports its state to systemd.
//
// Check reports the problems of a configuration, and Open opens its files; a Daemon runs with
// both. The problems of files and addresses have the line of the key that names them. The loop,
// the connections and the handling of requests are in the packages below, and the selection of
// the cipher and its drivers is in package offload.
//
// # Order of the start
//
// Signals are handled first, so that from then on SIGTERM ends the start in order. Then driver
// priorities are changed according to crypto.prefer, the drivers are tested, the listeners are
// bound, the ring is created, a seccomp filter is installed, and READY=1 is sent. The tests may
// take minutes; the start timeout of the unit is extended meanwhile. A driver may never answer:
// then only the exit of the process ends the start.
//
// # Debugging
//
// `uringhttpd check` prints the result of Check, and `uringhttpd doctor` the decision of the
// start with its reasons. The log has the same decision before the lines with msg=listening.
package service
