// Package http1 parses HTTP/1 requests and records responses. It does no I/O.
//
// FindHead and ParseRequest check a request head as RFC 9112 asks and as net/http's server does. A
// Response is the http.ResponseWriter of a handler: it records memory and parts of files as
// Segments, which the server sends when the handler has returned.
//
// Since nothing is sent while the handler runs, a handler can be called again for the same request.
// Postpone asks for a call at a later time. MayBlock and WouldBlock let a handler that would have to
// wait for storage return, and be called again on a goroutine that may wait. All three ask the
// context of the request, so that they work in handlers that others wrap.
package http1
