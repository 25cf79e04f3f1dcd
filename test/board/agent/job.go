package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

const (
	maxOutput = 1 << 20 // bytes kept of each of stdout and stderr
	maxJobs   = 256
	// killDelay is how long pipes may stay open after a program has ended: a grandchild may
	// still have them open.
	killDelay = 2 * time.Second
)

// A job is a program, its latest output, and its exit status.
type job struct {
	cmd            *exec.Cmd
	stdout, stderr tail
	done           chan struct{} // closed when the program has ended
	failure        error         // set before done is closed; not an exit status
}

// launch starts a program.
func launch(ctx context.Context, a wire.Command) (*job, error) {
	if len(a.Argv) == 0 {
		return nil, errors.New("no program named")
	}
	j := &job{done: make(chan struct{})}
	j.cmd = exec.CommandContext(ctx, a.Argv[0], a.Argv[1:]...)
	j.cmd.Env = append([]string{"PATH=/bin"}, a.Env...)
	j.cmd.Stdout, j.cmd.Stderr = &j.stdout, &j.stderr
	j.cmd.WaitDelay = killDelay
	// The program has its own process group, so that a timeout kills its children, too.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	j.cmd.Cancel = func() error { return syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL) }
	if err := startNice(j.cmd, a.Nice); err != nil {
		return nil, err
	}
	go func() {
		defer close(j.done)
		err := j.cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			j.failure = err
		}
	}()
	return j, nil
}

// startNice starts a program with a priority. Processes and threads inherit the priority of
// the thread that creates them; a priority that is set later would miss some threads.
func startNice(cmd *exec.Cmd, nice int) error {
	if nice == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	if err := unix.Setpriority(unix.PRIO_PROCESS, thread, nice); err != nil {
		return os.NewSyscallError("setpriority", err)
	}
	err := cmd.Start()
	return errors.Join(err, os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, thread, 0)))
}

// exit returns the state of the job so far.
func (j *job) exit() wire.Exit {
	var e wire.Exit
	select {
	case <-j.done:
		e.Exited, e.Status, e.Signal = true, j.cmd.ProcessState.ExitCode(), signalNumber(j.cmd.ProcessState)
	default:
	}
	var n1, n2 int64
	e.Stdout, n1 = j.stdout.bytes()
	e.Stderr, n2 = j.stderr.bytes()
	e.Dropped = n1 + n2
	return e
}

// runToEnd runs a program to its end, or kills it at the end of ctx.
func runToEnd(ctx context.Context, a wire.Command) (any, error) {
	j, err := launch(ctx, a)
	if err != nil {
		return nil, err
	}
	<-j.done
	if err := ctx.Err(); err != nil {
		e := j.exit()
		return nil, fmt.Errorf("%q was killed: %w; it wrote:\n%s%s", a.Argv, err, e.Stdout, e.Stderr)
	}
	if j.failure != nil {
		return nil, fmt.Errorf("%q: %w", a.Argv, j.failure)
	}
	return j.exit(), nil
}

// start starts a program in the background.
func (s *server) start(a wire.Command) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) == maxJobs {
		return nil, fmt.Errorf("%d programs were started on this board already; boot another", maxJobs)
	}
	j, err := launch(context.Background(), a)
	if err != nil {
		return nil, err
	}
	s.jobs = append(s.jobs, j)
	return wire.Started{Handle: len(s.jobs) - 1, PID: j.cmd.Process.Pid}, nil
}

func (s *server) job(handle int) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if handle < 0 || handle >= len(s.jobs) {
		return nil, fmt.Errorf("no program has handle %d", handle)
	}
	return s.jobs[handle], nil
}

func (s *server) signal(a wire.Signal) error {
	j, err := s.job(a.Handle)
	if err != nil {
		return err
	}
	return j.cmd.Process.Signal(syscall.Signal(a.Signal))
}

func (s *server) wait(ctx context.Context, a wire.Handle) (any, error) {
	j, err := s.job(a.Handle)
	if err != nil {
		return nil, err
	}
	select {
	case <-j.done:
		return j.exit(), j.failure
	case <-ctx.Done():
		return nil, fmt.Errorf("%q still runs: %w", j.cmd.Args, ctx.Err())
	}
}

func (s *server) output(a wire.Handle) (any, error) {
	j, err := s.job(a.Handle)
	if err != nil {
		return nil, err
	}
	return j.exit(), nil
}

// stopAll kills all jobs that still run, and waits for them.
func (s *server) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if err := j.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			fmt.Fprintln(os.Stderr, "agent: kill:", err)
		}
		<-j.done
	}
}

// A tail keeps the last maxOutput bytes written to it.
type tail struct {
	mu      sync.Mutex
	buf     []byte
	dropped int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	// The buffer has twice the limit before bytes are moved: each byte is copied at most once.
	if len(t.buf) > 2*maxOutput {
		n := len(t.buf) - maxOutput
		t.dropped += int64(n)
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() ([]byte, int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := max(0, len(t.buf)-maxOutput)
	return append([]byte(nil), t.buf[n:]...), t.dropped + int64(n)
}
