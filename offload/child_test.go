package offload

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"uringhttpd/platform"
)

// TestChildOutput: the output of a program is returned, whether it succeeds or not, up to a bound.
func TestChildOutput(t *testing.T) {
	if output, err := runAbandonable(t.Context(), "sh", "-c", "echo out; echo err >&2"); err != nil || output != "out\nerr\n" {
		t.Errorf("success: %q, %v", output, err)
	}
	var exit *exitError
	var status *exec.ExitError
	if output, err := runAbandonable(t.Context(), "sh", "-c", "echo why >&2; exit 3"); output != "why\n" || !errors.As(err, &exit) || !errors.As(err, &status) || status.ExitCode() != 3 {
		t.Errorf("failure: %q, %v; want its output and status 3", output, err)
	}
	if _, err := runAbandonable(t.Context(), "/nonexistent"); err == nil || errors.As(err, &exit) || errors.Is(err, platform.ErrTimeout) {
		t.Errorf("no program: got %v", err)
	}
	if output, err := runAbandonable(t.Context(), "sh", "-c", "head -c 1000000 /dev/zero"); err != nil || len(output) != maxOutput {
		t.Errorf("much output: %d bytes, %v", len(output), err)
	}
}

// TestHungChildIsAbandoned: the caller does not wait for a program that does not end, not even for
// the end of its output, which a child of the program still holds open.
func TestHungChildIsAbandoned(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runAbandonable(ctx, "sh", "-c", "sleep 5; true"); !errors.Is(err, platform.ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
}

// TestChildPartialOutput: the output that a program wrote before it was abandoned is returned.
func TestChildPartialOutput(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mark := filepath.Join(t.TempDir(), "mark")
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(mark); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	output, err := runAbandonable(ctx, "sh", "-c", "echo first; : > "+mark+"; exec sleep 1000")
	if output != "first\n" || !errors.Is(err, platform.ErrTimeout) {
		t.Errorf("got %q, %v", output, err)
	}
}
