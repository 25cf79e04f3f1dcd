// Package cryptoapi is a client of the kernel's crypto API, as far as kernel TLS depends on it:
// which drivers there are, which of them the kernel selects, and whether a driver computes
// correctly.
//
// It uses three interfaces. /proc/crypto lists the algorithms (Read, and Watcher for the selected
// driver of each cipher). NETLINK_CRYPTO adds which drivers are hardware (MarkHardware), and changes
// the list for the whole system (SetPriority, Instantiate); no function of this package calls these two. AF_ALG
// makes a driver that is given by name encrypt (KnownAnswers, MeasureDriver).
//
// A driver of an engine that is dead never answers: KnownAnswers and MeasureDriver then never
// return, so run them in a process of their own.
//
// To debug a surprising answer, read /proc/crypto and the kernel's log, and compare with
// strace -f -e trace=network.
package cryptoapi
