package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"uringhttpd/ktls"
	"uringhttpd/service/http1"
)

// A generation is a configuration with what it has opened. It does not change. A connection keeps
// the one with which it was accepted.
type generation struct {
	handler       http.Handler
	sessions      *ktls.Server // nil: no TLS
	require       bool         // kernel TLS, or reset the connection
	headerTimeout time.Duration
	idleTimeout   time.Duration
	stallTimeout  time.Duration
	buffer        int64 // bytes that the kernel may hold for a connection
	connections   int   // limit
	log           *slog.Logger
	access        bool // log each request
}

// process is the state that all loops and workers share. It is safe for concurrent use.
type process struct {
	offloads atomic.Bool // kernel TLS may be used
	drivers  drivers
	counters counters
	lifetime context.Context                 // of requests
	sameHost func(peer, own netip.Addr) bool // reports whether the client is on this machine
}

// loopState is the part of a loop's state that its connections use. Only the loop's thread, and a
// connection's step on it, may access it.
type loopState struct {
	memory    int64                 // bytes that the kernel should hold, at most, that are not sent yet
	share     int64                 // of memory, of each connection
	grown     int                   // pipes above their initial size
	engineOut time.Time             // when an asynchronous driver last gave something to TCP
	giveBack  func([]http1.Segment) // releases files off the loop if that may wait for storage; nil: at once
	stopping  bool                  // no further requests
	repeats   repeats               // log lines that clients can cause
}

// An environment is what surrounds a connection.
type environment struct {
	gen  *generation
	proc *process
	loop *loopState
}

// An endpoint is the other end of a connection, and how it came.
type endpoint struct {
	peer, own netip.AddrPort // of the TCP connection
	metrics   bool           // by a listener for metrics: it is given those, and not counted
}
