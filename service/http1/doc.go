// Package http1 parses HTTP/1 requests and records responses. It does no I/O.
//
// FindHead and ParseRequest check a request head according to RFC 9112, and as net/http's server
// does. A Response is the http.ResponseWriter of a handler: it records memory and parts of files as
// Segments, which the server sends after the handler has returned.
//
// Since nothing is sent while the handler runs, the server can call a handler again for the same
// request. Postpone requests a call at a later time. A handler for which MayBlock is false calls
// WouldBlock instead of waiting for storage, and is called again on a goroutine that may wait. All
// three use the context of the request, so they also work in wrapped handlers.
//
// Limits: request bodies are not read, and a response from memory has at most MaxBody bytes.
//
// To debug: the Text of a RequestError names the check that failed; it is sent to the client and
// logged.
package http1
