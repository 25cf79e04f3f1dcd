package client

import (
	"context"
	"sync/atomic"
)

// A crowd is who waits for all others to be connected.
type crowd struct {
	missing atomic.Int32
	here    chan struct{} // closed when nobody is missing
}

// newCrowd returns nil if nobody is to wait.
func newCrowd(o Options) *crowd {
	if !o.Together {
		return nil
	}
	c := &crowd{here: make(chan struct{})}
	c.missing.Store(int32(o.Parallel))
	return c
}

// join waits for the others. Who cannot connect is not waited for.
func (c *crowd) join(ctx context.Context, connected bool) error {
	if c.missing.Add(-1) == 0 {
		close(c.here)
	}
	if !connected {
		return nil
	}
	select {
	case <-c.here:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
