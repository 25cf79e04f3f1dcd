package server

import (
	"slices"

	"uringhttpd/service/flow"
	"uringhttpd/service/http1"
)

// splices reports whether a response's files may go to the socket as pages of the page
// cache. They may not on a plain connection within this machine: even acknowledged bytes are
// still those pages until the client reads them, so a change of the file would change the
// data that the client reads. It runs on a worker.
func (c *conn) splices(segments []http1.Segment) bool {
	if c.transport != plain {
		return c.transport == kernel
	}
	if !slices.ContainsFunc(segments, func(s http1.Segment) bool { return s.File != nil && s.N > flow.Chunk }) {
		return false // there is nothing to splice
	}
	if c.place == placeUnknown {
		c.place = placeElsewhere
		if c.proc.sameHost(c.client.peer.Addr(), c.client.own.Addr()) {
			c.place = placeHere
		}
	}
	return c.place == placeElsewhere
}

// A place is the location of a client.
type place uint8

const (
	placeUnknown   place = iota
	placeHere            // on this machine, in this network namespace
	placeElsewhere       // behind a network device
)
