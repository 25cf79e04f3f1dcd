package platform

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNoAnswer is Ask's error when the program was left to itself.
var ErrNoAnswer = errors.New("no answer in time")

// An AnswerError is the answer of a program that did not succeed.
type AnswerError struct {
	Status int    // its exit status, -1 if a signal ended it
	Text   string // what it wrote
	Err    error
}

func (e *AnswerError) Error() string {
	if e.Text == "" {
		return e.Err.Error()
	}
	return e.Text
}

func (e *AnswerError) Unwrap() error { return e.Err }

// Ask runs a program and returns nil if it succeeds, else an *AnswerError. It is for
// questions that the kernel may never answer: when ctx ends first, the program is
// killed and left to itself, since not even that ends one that waits in the kernel
// uninterruptibly. Such a program keeps its process and a goroutine here.
func Ask(ctx context.Context, name string, args ...string) error {
	var said strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("platform: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return &AnswerError{cmd.ProcessState.ExitCode(), strings.TrimSpace(said.String()), err}
		}
		return nil
	case <-ctx.Done():
		cmd.Process.Kill()
		return fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
}
