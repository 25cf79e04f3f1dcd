package client

import (
	"context"
	"os"
	"time"
)

// openGate returns a channel that is closed when a file exists, and a function that ends the
// polling for it. "" stands for a file that always exists.
func openGate(ctx context.Context, path string) (gate <-chan struct{}, done func()) {
	opened := make(chan struct{})
	if path == "" {
		close(opened)
		return opened, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond) // no event announces a new file
		defer tick.Stop()
		for {
			if _, err := os.Stat(path); err == nil {
				close(opened)
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return opened, func() {
		cancel()
		<-ended
	}
}
