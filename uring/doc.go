// Package uring drives one io_uring of the Linux kernel from one thread.
//
// It is for programs with an event loop of their own: the loop pushes
// operations, waits, and is handed their completions. There is no goroutine, no
// channel and no callback inside. Only what a file server needs is here:
// accept, recv, send, sendmsg, read, splice, poll, timeout, cancel and close.
//
// It is not a general binding of io_uring, and no poller for blocking code.
// Linux 6.1 is the oldest kernel it works on: the ring is made with
// IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN, so that completion
// work runs only while the owner waits, and never interrupts a system call with
// a signal. (net/tls gives up a send that waits for memory when the thread has
// a signal pending, sk_stream_wait_memory in net/core/stream.c, and the data is
// gone.)
//
// # Threads
//
// A Ring belongs to the operating system thread that made it: call
// runtime.LockOSThread before New, and use the Ring from that goroutine only.
// The kernel answers EEXIST to any other thread.
//
// The kernel has threads of its own for what it cannot do without waiting, two
// kinds of them (io_uring/io-wq.c). Bounded ones do operations that end by
// themselves: reads and writes of regular files and block devices, closes.
// Unbounded ones do those that may wait for another program: sends, receives and
// every splice whose target is a pipe or a socket, also one that reads a file. They
// end after some idle seconds, all but one of each kind. Without LimitWorkers there are up to four for each
// processor of the first kind, and as many as RLIMIT_NPROC allows of the second.
//
// # Restrictions
//
// The kernel refuses whatever this package does not offer (IORING_REGISTER_RESTRICTIONS): a
// program that has been taken over cannot make sockets or open files with its ring, past a
// filter of system calls.
//
// # Memory
//
// The kernel reads and writes the memory of an operation until its completion.
// The Ring holds a reference to it for as long, so the garbage collector cannot
// take it away; the caller must not reuse it before then.
//
// # Debugging
//
// Ring.InFlight counts operations without a completion. The file
// /proc/PID/fdinfo/FD of the ring's descriptor lists the queue as the kernel
// sees it, and `bpftrace -e 'tracepoint:io_uring:*'` prints each step.
package uring
