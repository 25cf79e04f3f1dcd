package board

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"uringhttpd/test/board/pattern"
	"uringhttpd/test/board/wire"
)

// WriteFile writes data to a file of the board, and makes the directories above it. Large
// data is sent in pieces; the file is complete when WriteFile returns.
func (m *Machine) WriteFile(ctx context.Context, path string, data []byte, perm os.FileMode) error {
	for first := true; first || len(data) > 0; first = false {
		n := min(len(data), wire.Piece)
		err := m.agent.call(ctx, wire.OpWrite, wire.Write{Path: path, Mode: uint32(perm), Append: !first, Data: data[:n]}, nil)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// ReadFile reads a file of the board of at most wire.MaxData bytes.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	var d wire.Data
	err := m.agent.call(ctx, wire.OpRead, wire.Read{Path: path}, &d)
	return d.Data, err
}

// Remove removes a file or directory of the board. It is no error if the file is absent.
func (m *Machine) Remove(ctx context.Context, path string) error {
	return m.agent.call(ctx, wire.OpRemove, wire.Read{Path: path}, nil)
}

// Touch changes the times of a file or directory of the board.
func (m *Machine) Touch(ctx context.Context, path string) error {
	return m.agent.call(ctx, wire.OpTouch, wire.Read{Path: path}, nil)
}

// MakeFile makes a file of generated content. The file appears under its name when it is
// complete.
func (m *Machine) MakeFile(ctx context.Context, path string, c pattern.Content) error {
	return m.agent.call(ctx, wire.OpPattern, wire.Pattern{Path: path, Content: c}, nil)
}

// Sysctl sets a kernel parameter, as in Sysctl(ctx, "net.ipv4.tcp_wmem", ...).
func (m *Machine) Sysctl(ctx context.Context, name, value string) error {
	return m.WriteFile(ctx, sysctlPath(name), []byte(value), 0o644)
}

// SetSysctl sets a kernel parameter like Sysctl, and returns a function that restores the old value.
func (m *Machine) SetSysctl(ctx context.Context, name, value string) (restore func() error, err error) {
	before, err := m.ReadSysctl(ctx, name)
	if err != nil {
		return nil, err
	}
	return func() error { return m.Sysctl(ctx, name, before) }, m.Sysctl(ctx, name, value)
}

// ReadSysctl reads a kernel parameter.
func (m *Machine) ReadSysctl(ctx context.Context, name string) (string, error) {
	b, err := m.ReadFile(ctx, sysctlPath(name))
	return strings.TrimSpace(string(b)), err
}

func sysctlPath(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}

// Netem makes the loopback device drop and delay packets, until it is called with the zero
// value. It needs the module sch_netem.
func (m *Machine) Netem(ctx context.Context, n wire.Netem) error {
	n.Device = "lo"
	return m.agent.call(ctx, wire.OpNetem, n, nil)
}

// LoadModule loads a module that was among the modules of the booted board.
func (m *Machine) LoadModule(ctx context.Context, name string) error {
	return m.agent.call(ctx, wire.OpModule, wire.Module{Name: name}, nil)
}

// UnloadModule removes a module from the kernel, and fails while the kernel uses it.
func (m *Machine) UnloadModule(ctx context.Context, name string) error {
	return m.agent.call(ctx, wire.OpModule, wire.Module{Name: name, Unload: true}, nil)
}

// TxSw is the counter of TLSStat that grows when kernel TLS, in software or by an engine of
// the crypto API, is enabled for sending on a connection.
const TxSw = "TlsTxSw"

// TLSStat reads /proc/net/tls_stat, which counts since boot
// (Documentation/networking/tls.rst).
func (m *Machine) TLSStat(ctx context.Context) (map[string]int64, error) {
	b, err := m.ReadFile(ctx, "/proc/net/tls_stat")
	if err != nil {
		return nil, err
	}
	return parseTLSStat(string(b))
}

// Run runs a program to its end, within the context's deadline. An exit status other than 0 is no error.
func (m *Machine) Run(ctx context.Context, env []string, argv ...string) (wire.Exit, error) {
	var e wire.Exit
	err := m.agent.call(ctx, wire.OpRun, wire.Command{Argv: argv, Env: env}, &e)
	return e, err
}

// WaitListening returns once a TCP socket of the board listens on port.
func (m *Machine) WaitListening(ctx context.Context, port int) error {
	return m.agent.call(ctx, wire.OpListening, wire.Listening{Port: port}, nil)
}

// Forward returns an address of the host (127.0.0.1 and a port that the kernel chose) that
// is forwarded to a TCP port of the board. On the board the peer of such connections is 10.0.2.2.
func (m *Machine) Forward(ctx context.Context, guestPort int) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if addr, ok := m.forwards[guestPort]; ok {
		return addr, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	addr, err := m.monitor.forward(ctx, guestPort)
	if err != nil {
		return "", err
	}
	m.forwards[guestPort] = addr
	return addr, nil
}

// A Process is a program that runs in the background.
type Process struct {
	PID    int
	m      *Machine
	handle int
}

// Start starts a program in the background.
func (m *Machine) Start(ctx context.Context, env []string, argv ...string) (*Process, error) {
	return m.start(ctx, wire.Command{Argv: argv, Env: env})
}

func (m *Machine) start(ctx context.Context, c wire.Command) (*Process, error) {
	var s wire.Started
	if err := m.agent.call(ctx, wire.OpStart, c, &s); err != nil {
		return nil, err
	}
	return &Process{PID: s.PID, m: m, handle: s.Handle}, nil
}

// Signal sends a signal to the program.
func (p *Process) Signal(ctx context.Context, sig syscall.Signal) error {
	return p.m.agent.call(ctx, wire.OpSignal, wire.Signal{Handle: p.handle, Signal: int(sig)}, nil)
}

// Wait waits for the program's end. It returns an error when the context's deadline passes
// first.
func (p *Process) Wait(ctx context.Context) (wire.Exit, error) {
	var e wire.Exit
	err := p.m.agent.call(ctx, wire.OpWait, wire.Handle{Handle: p.handle}, &e)
	return e, err
}

// Output returns the state of the program and its last output.
func (p *Process) Output(ctx context.Context) (wire.Exit, error) {
	var e wire.Exit
	err := p.m.agent.call(ctx, wire.OpOutput, wire.Handle{Handle: p.handle}, &e)
	return e, err
}

// Usage returns the program's descriptors, threads and memory.
func (p *Process) Usage(ctx context.Context) (wire.Process, error) {
	var u wire.Process
	err := p.m.agent.call(ctx, wire.OpProcess, wire.Handle{Handle: p.handle}, &u)
	return u, err
}

// Stop sends SIGTERM and waits for a clean end: exit status 0.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(ctx, syscall.SIGTERM); err != nil {
		return err
	}
	e, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if e.Status != 0 {
		return fmt.Errorf("board: process %d ended with status %d, signal %d:\n%s", p.PID, e.Status, e.Signal, e.Stderr)
	}
	return nil
}
