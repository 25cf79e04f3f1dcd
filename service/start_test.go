package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"uringhttpd/systemd"
	"uringhttpd/test/notify"
)

// TestStartExtendsTimeoutAndEndsOnSignal: the start extends the unit's timeout while prepare runs.
// A signal, or the limit, ends it even if prepare does not return.
func TestStartExtendsTimeoutAndEndsOnSignal(t *testing.T) {
	failed := errors.New("failed")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, tt := range []struct {
		name    string
		signals []os.Signal
		limit   time.Duration
		prepare func(ctx context.Context, extended, left <-chan struct{}) error
		ended   bool
		want    error
	}{
		{"at once", nil, time.Hour, func(context.Context, <-chan struct{}, <-chan struct{}) error { return nil }, true, nil},
		{"failed", nil, time.Hour, func(context.Context, <-chan struct{}, <-chan struct{}) error { return failed }, true, failed},
		{"slow", nil, time.Hour, func(_ context.Context, extended, _ <-chan struct{}) error { <-extended; return nil }, true, nil},
		{"SIGTERM", []os.Signal{syscall.SIGTERM}, time.Hour, func(ctx context.Context, _, _ <-chan struct{}) error { <-ctx.Done(); return ctx.Err() }, true, errInterrupted},
		{"SIGINT, prepare does not return", []os.Signal{syscall.SIGINT}, time.Hour, func(_ context.Context, _, left <-chan struct{}) error { <-left; return nil }, false, errInterrupted},
		{"SIGHUP is ignored", []os.Signal{syscall.SIGHUP}, time.Hour, func(_ context.Context, extended, _ <-chan struct{}) error { <-extended; return nil }, true, nil},
		{"limit", nil, time.Millisecond, func(_ context.Context, _, left <-chan struct{}) error { <-left; return nil }, false, errLateStart},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := notify.Listen(t)
			notifier, err := systemd.NewNotifier()
			if err != nil {
				t.Fatal(err)
			}
			signals := make(chan os.Signal, 1)
			for _, s := range tt.signals {
				signals <- s
			}
			extended, left, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() { // the first message is sent at once, the others by the timer
				buf := make([]byte, 4096)
				for range 3 {
					if n, err := socket.Read(buf); err != nil || string(buf[:n]) != "EXTEND_TIMEOUT_USEC=90000000" {
						return
					}
				}
				close(extended)
			}()
			s := &starting{signals, notifier, log, time.Millisecond, tt.limit, time.Millisecond}
			if tt.ended {
				s.grace = time.Minute
			}
			ended, err := s.run(func(ctx context.Context) error {
				defer close(over)
				return tt.prepare(ctx, extended, left)
			})
			if ended != tt.ended || err != tt.want {
				t.Errorf("ended %v, %v; want %v, %v", ended, err, tt.ended, tt.want)
			}
			close(left)
			<-over
		})
	}
}
