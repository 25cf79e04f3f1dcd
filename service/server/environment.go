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

// A generation is a configuration together with the resources that it opened. It is immutable. A
// connection keeps the generation with which it was accepted.
type generation struct {
	handler       http.Handler
	cache         http1.Cache  // nil: none; only for the loop's thread
	sessions      *ktls.Server // nil: no TLS
	require       bool         // require kernel TLS, or reset the connection
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
	buffers  buffers
	lifetime context.Context                 // of requests
	sameHost func(peer, own netip.Addr) bool // reports whether the client is on this machine
}

// loopState is the part of a loop's state that its connections use. Only the loop's thread, and a
// connection's step on it, may access it.
type loopState struct {
	memory         int64                 // limit of unsent bytes that the kernel should hold
	share          int64                 // of each connection in memory
	grownPipes     int                   // pipes larger than their initial size
	engineOutputAt time.Time             // when an asynchronous driver last passed records to TCP
	releaseFiles   func([]http1.Segment) // releases files, off the loop if that may wait for storage; nil: release directly
	stopping       bool                  // no further requests are served
	limitedLines   limitedLines          // log lines that clients can cause
	answers        answers               // state of answers from the cache
}

// release releases the files of segments.
func (l *loopState) release(segments []http1.Segment) {
	if l.releaseFiles == nil {
		http1.Release(segments)
		return
	}
	l.releaseFiles(segments)
}

// An environment groups the state that a connection uses.
type environment struct {
	gen  *generation
	proc *process
	loop *loopState
}

// An endpoint describes the client of a connection and the listener that accepted it.
type endpoint struct {
	peer, own netip.AddrPort // addresses of the TCP connection
	metrics   bool           // accepted by a listener for metrics: serves metrics only, and is not counted
}
