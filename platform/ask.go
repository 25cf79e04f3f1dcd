package platform

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// ErrNoAnswer is the error of Ask when the program was abandoned.
var ErrNoAnswer = errors.New("no answer in time")

// An AnswerError is the failure of a program that Ask ran to its end.
type AnswerError struct {
	Status int // exit status, -1 if a signal ended the program
	Err    error
}

func (e *AnswerError) Error() string { return e.Err.Error() }

func (e *AnswerError) Unwrap() error { return e.Err }

// Ask runs a program and returns its combined standard output and error. The error is nil
// if the program succeeded, else an *AnswerError. Ask is for programs that may block in the
// kernel forever: when ctx ends first, the program is killed and abandoned, since even
// SIGKILL does not end an uninterruptible wait. The error then wraps ErrNoAnswer, and the
// output so far is returned. An abandoned program keeps its process and a goroutine here.
func Ask(ctx context.Context, name string, args ...string) (said string, err error) {
	var all text
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &all, &all
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("platform: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			err = &AnswerError{cmd.ProcessState.ExitCode(), err}
		}
		return all.String(), err
	case <-ctx.Done():
		cmd.Process.Kill()
		select { // its output may still be in the pipe
		case <-ended:
		case <-time.After(graceTime):
		}
		return all.String(), fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
}

// graceTime is how long Ask waits for a killed program to end.
const graceTime = time.Second

// maxText is the number of bytes kept of a program's output.
const maxText = 64 << 10

// text is written by one goroutine and read by another.
type text struct {
	mu  sync.Mutex
	all []byte
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, p[:min(len(p), maxText-len(t.all))]...)
	return len(p), nil
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.all)
}
