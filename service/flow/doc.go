// Package flow computes how many bytes of a connection the kernel may hold. It does no I/O: a
// Control is a value that readings of the kernel's state and a clock go into, and numbers of bytes
// come out of.
//
// The kernel holds a connection's bytes in a pipe, inside kernel TLS and in TCP's buffer. The meter
// (ktls.Meter) reads the number of bytes in the latter two. A reading takes three system calls, so
// Update derives a budget from it, Admit and AdmitPush say how much of the next bytes fits into the
// budget, and Charge and ChargePush subtract the bytes that went into the kernel. The caller reads
// the meter again when nothing is admitted.
//
// The bounds, and the measurements behind them, are in docs/decisions/0009-bounds.md.
//
// This package does not decide when to read the meter, how long to wait for a client, or when a
// client is stalled: that is the connection's business (service/server/gate.go).
//
// # Debugging
//
// FuzzControl runs a Control against a model of the kernel; a failing input names the bound that
// was exceeded. The access log's pending_max is Control.PendingMax of a connection.
package flow
