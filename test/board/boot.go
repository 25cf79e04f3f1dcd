package board

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"uringhttpd/test/board/debian"
	"uringhttpd/test/board/wire"
	"uringhttpd/test/caamsim"
)

// bootTimeout is generous: a board takes 3 to 10 s on an idle machine.
const bootTimeout = 3 * time.Minute

// A Machine is a board that runs. Its methods may be called concurrently;
// nothing may be called after Close.
type Machine struct {
	Spec   Spec
	Hello  wire.Hello
	Driver string // what does gcm(aes) for the kernel
	Marked bool   // the kernel marks that asynchronous

	dir     string
	qemu    *qemu
	agent   *agentConn
	monitor *monitor

	mu        sync.Mutex
	forwards  map[int]string // guest's port to the host's address
	identity  *identity      // made at its first use
	downloads int            // numbers the files of Download
}

// Boot starts a board and returns once its agent answers and its engine is the
// one asked for, which is verified. The context bounds the boot only.
func Boot(ctx context.Context, spec Spec) (m *Machine, err error) {
	if spec.MemoryMiB == 0 {
		spec.MemoryMiB = 512
	}
	if spec.CPUs == 0 {
		spec.CPUs = 1
	}
	b, err := spec.Board.machine()
	if err != nil {
		return nil, err
	}
	if spec.Program == "" || spec.Cache == "" {
		return nil, errors.New("board: Spec.Program and Spec.Cache must be set; see Build and DefaultCache")
	}
	kernel, err := debian.FetchKernel(ctx, spec.Cache, b.kernel)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "board-"+b.name+"-")
	if err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	m = &Machine{Spec: spec, dir: dir, forwards: map[int]string{}}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("%w%s", err, m.lastWords())
		if m.qemu != nil {
			err = errors.Join(err, m.qemu.kill())
		}
		err = errors.Join(err, os.RemoveAll(dir))
		m = nil
	}()

	initramfs, err := buildInitramfs(ctx, dir, spec, b, kernel)
	if err != nil {
		return m, err
	}
	if m.qemu, err = startQEMU(ctx, dir, spec, b, kernel, initramfs); err != nil {
		return m, err
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	m.agent = newAgentConn(m.qemu.agent)
	if m.monitor, err = newMonitor(ctx, m.qemu.qmp); err != nil {
		return m, err
	}
	if err = m.agent.call(ctx, wire.OpHello, nil, &m.Hello); err != nil {
		return m, fmt.Errorf("%s did not boot: %w", b.name, err)
	}
	// QEMU has read it long ago, and memory may be what holds it.
	if err = os.Remove(initramfs); err != nil {
		return m, fmt.Errorf("board: %w", err)
	}
	return m, m.setEngine(ctx, spec.Engine.Async() || spec.Engine == Accelerated && b.marked)
}

// setEngine instantiates the engine's algorithm and checks that it is the one
// the kernel prefers, and whether the kernel marks it asynchronous. It must run once
// only: pcrypt would wrap itself.
func (m *Machine) setEngine(ctx context.Context, marked bool) (err error) {
	// Since Linux 7 AF_ALG, by which instantiate asks, knows but a few algorithms
	// unless that is said. The daemon meets the board as it boots.
	if _, err := m.ReadFile(ctx, "/proc/sys/crypto/af_alg_restrict"); err == nil {
		restore, err := m.SetSysctl(ctx, "crypto.af_alg_restrict", "0")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	plain, err := m.gcm(ctx)
	if err != nil {
		return err
	}
	e := m.Spec.Engine
	if err := m.instantiate(ctx, e.template(plain.driver)); err != nil {
		return err
	}
	// That may be answered while the kernel still tests the new instance. Asking for
	// the plain name then waits for the test, until Linux 7.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	best, err := m.gcm(ctx)
	for err == nil && !best.passed && best.async == marked {
		select {
		case <-tick.C:
			best, err = m.gcm(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("board: engine %v: %+v: %w", e, best, err)
	}
	plainAES := strings.Contains(best.driver, "ctr(") // made of a block cipher, one block at a time
	if best.async != marked || !best.passed || (best.driver == caamsim.Driver) != (e == CAAM) || e == Accelerated && plainAES {
		return fmt.Errorf("board: engine %v is not what the kernel would use: %+v; leave out modules that outrank it", e, best)
	}
	m.Driver, m.Marked = best.driver, best.async
	return nil
}

// instantiate makes the kernel build an AEAD of its templates.
func (m *Machine) instantiate(ctx context.Context, name string) error {
	return m.agent.call(ctx, wire.OpAEAD, wire.AEAD{Name: name}, nil)
}

// gcm is what the kernel uses for gcm(aes).
func (m *Machine) gcm(ctx context.Context) (algorithm, error) {
	const name = "gcm(aes)"
	if err := m.instantiate(ctx, name); err != nil {
		return algorithm{}, err
	}
	text, err := m.ReadFile(ctx, "/proc/crypto")
	if err != nil {
		return algorithm{}, err
	}
	all, err := parseCrypto(string(text))
	if err != nil {
		return algorithm{}, err
	}
	best, ok := preferred(all, name)
	if !ok {
		return algorithm{}, errors.New("board: the kernel has no gcm(aes)")
	}
	return best, nil
}

// lastWords is the end of what the kernel and QEMU wrote, for an error.
func (m *Machine) lastWords() string {
	const lines = 30
	var b strings.Builder
	if log, err := m.KernelLog(); err == nil && log != "" {
		all := strings.Split(strings.TrimRight(log, "\n"), "\n")
		b.WriteString("\nkernel log, its end:\n" + strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	if m.qemu != nil {
		if s := m.qemu.stderr.String(); s != "" {
			b.WriteString("\nQEMU: " + s)
		}
	}
	return b.String()
}

// KernelLog is all the kernel wrote to its console so far.
func (m *Machine) KernelLog() (string, error) {
	b, err := os.ReadFile(filepath.Join(m.dir, consoleName))
	if err != nil {
		return "", fmt.Errorf("board: kernel log: %w", err)
	}
	return string(b), nil
}

// halted tells whether the machine cannot power itself off, and whether its kernel has
// ended as far as it can.
func (m *Machine) halted() (cannot, ended bool) {
	if b, err := m.Spec.Board.machine(); err != nil || !b.halts {
		return false, false
	}
	log, err := m.KernelLog()
	return true, err == nil && strings.Contains(log, "System halted")
}

// awaitOff waits for the end of a machine that was told to go off.
func (m *Machine) awaitOff(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-m.qemu.done:
			return nil
		case <-tick.C: // nothing tells of a kernel that has halted but its console
			if _, ended := m.halted(); ended {
				return nil
			}
		case <-ctx.Done():
			return errors.New("board: the machine did not power off")
		}
	}
}

// Close shuts the machine down, or kills it if it does not go, and removes
// what it left on the host. It fails if the machine would not go or if the
// kernel log holds a line that a healthy kernel does not write.
func (m *Machine) Close() error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := m.agent.call(ctx, wire.OpShutdown, nil, nil)
	if err == nil {
		err = m.awaitOff(ctx)
	}
	_, halted := m.halted()
	if err != nil {
		err = fmt.Errorf("%w%s", err, m.lastWords())
	}
	err = errors.Join(err, m.qemu.kill())
	if err == nil && m.qemu.err != nil && !halted {
		err = fmt.Errorf("board: QEMU: %w: %s", m.qemu.err, m.qemu.stderr)
	}
	log, logErr := m.KernelLog()
	if complaints := scanKernelLog(log); len(complaints) > 0 {
		logErr = errors.Join(logErr, complaintsError(complaints))
	}
	return errors.Join(err, logErr, os.RemoveAll(m.dir))
}
