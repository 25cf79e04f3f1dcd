// Package uring drives one io_uring of the Linux kernel from one thread.
//
// It is for programs with an event loop of their own: the loop pushes
// operations, waits, and receives their completions. The package has no goroutine,
// no channel and no stored callback. It offers only the operations of a file server:
// accept, recv, send, sendmsg, read, splice, poll, timeout, cancel and close.
//
// It is not a general binding of io_uring, and not a poller for blocking code.
// Linux 6.1 is the oldest kernel it works on: the ring is made with
// IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN, so that completion
// work runs only while the owner waits, and never interrupts a system call with
// a signal. (If the thread has a signal pending, net/tls aborts a send that waits
// for memory, sk_stream_wait_memory in net/core/stream.c, and the data is lost.)
//
// # Threads
//
// A Ring belongs to the operating system thread that made it: call
// runtime.LockOSThread before New, and use the Ring from that goroutine only.
// In any other thread the system calls fail with EEXIST.
//
// The kernel runs operations that must wait on worker threads of its own, of two kinds
// (io_uring/io-wq.c). Bounded workers run operations that end by themselves: closes,
// and reads and writes of regular files and block devices. Unbounded workers run
// operations that may wait for another program: sends, receives and every splice whose
// target is a pipe or a socket, even if its source is a file. Idle workers end after
// some seconds, except one of each kind. Without LimitWorkers there are up to four
// bounded workers per processor, and as many unbounded workers as RLIMIT_NPROC allows.
//
// # Restrictions
//
// The kernel refuses all operations that this package does not offer
// (IORING_REGISTER_RESTRICTIONS): a compromised program cannot use its ring to make
// sockets or open files and so bypass a system call filter.
//
// # Memory
//
// The kernel reads and writes the memory of an operation until its completion.
// The Ring holds a reference to it until then, so the garbage collector does not
// free it; the caller must not reuse it before then.
//
// # Debugging
//
// Ring.InFlight counts operations without a completion. The file
// /proc/PID/fdinfo/FD of the ring's descriptor lists the queue as the kernel
// sees it, and `bpftrace -e 'tracepoint:io_uring:*'` prints each step.
package uring
