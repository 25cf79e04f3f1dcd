package platform

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// ErrNoAnswer is Ask's error when the program was left to itself.
var ErrNoAnswer = errors.New("no answer in time")

// An AnswerError is the answer of a program that did not succeed.
type AnswerError struct {
	Status int // its exit status, -1 if a signal ended it
	Err    error
}

func (e *AnswerError) Error() string { return e.Err.Error() }

func (e *AnswerError) Unwrap() error { return e.Err }

// Ask runs a program and returns what it said on its standard output and error, and nil
// if it succeeded, else an *AnswerError. It is for questions that the kernel may never
// answer: when ctx ends first, the program is killed and left to itself, since not even
// that ends one that waits in the kernel uninterruptibly. Then the error is ErrNoAnswer,
// with what was said so far. Such a program keeps its process and a goroutine here.
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
		select { // what it said may still be on its way
		case <-ended:
		case <-time.After(graceTime):
		}
		return all.String(), fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
}

// graceTime is for the end of a program that was killed, if that can end it.
const graceTime = time.Second

// maxText is how much of what a program says is kept.
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
