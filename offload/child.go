package offload

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"uringhttpd/platform"
)

// An exitError is the failure of a program that runAbandonable ran to its end.
type exitError struct {
	err error // an *exec.ExitError, or an error of the pipe
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// runAbandonable runs a program and returns its combined standard output and error, 64 KiB at most.
// The error is nil if the program succeeded, and an *exitError if it failed. runAbandonable is for
// programs that may block in the kernel forever: when ctx ends first, the program is killed and
// abandoned, since even SIGKILL does not end an uninterruptible wait. The error then wraps
// platform.ErrTimeout, and the output so far is returned. An abandoned program keeps its process and
// a goroutine here.
func runAbandonable(ctx context.Context, name string, args ...string) (string, error) {
	var output buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("offload: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			err = &exitError{err}
		}
		return output.String(), err
	case <-ctx.Done():
		cmd.Process.Kill()
		select { // its output may still be in the pipe
		case <-ended:
		case <-time.After(graceTime):
		}
		return output.String(), fmt.Errorf("%w: %w", platform.ErrTimeout, ctx.Err())
	}
}

// graceTime is the time that a killed program has to end.
const graceTime = time.Second

// maxOutput is the number of bytes kept of a program's output.
const maxOutput = 64 << 10

// A buffer keeps the first maxOutput bytes of a program's output. One goroutine writes it while
// another reads it.
type buffer struct {
	mu  sync.Mutex
	all []byte
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, p[:min(len(p), maxOutput-len(b.all))]...)
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.all)
}
