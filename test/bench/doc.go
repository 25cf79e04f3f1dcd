// Command bench measures the cost of the daemon beside other servers on the same machine, and
// writes docs/benchmarks.md and a picture. make bench runs it; it needs root and Debian.
//
// Server and client are in two network namespaces joined by a veth pair: within one machine
// the daemon sends from copies (docs/decisions/0004), which differs for clients on a network. The server
// has processor 0 and the client processor 1. All servers of a row run at the same
// time, and each round measures all of them in turn, so that a machine that slows down
// slows all of them. A figure is the median over the rounds of the ratio to nginx in the same round.
//
// CPU time is that of the server's processes by /proc/PID/stat, which includes the threads
// of io_uring. Before a row is measured, each server must answer with the right bytes.
package main
