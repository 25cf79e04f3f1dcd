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

// A Machine is a running board. Its methods may be called concurrently, but not after
// Close.
type Machine struct {
	Spec   Spec
	Hello  wire.Hello
	Driver string // the driver that computes gcm(aes) for the kernel
	Marked bool   // the kernel marks Driver asynchronous

	dir     string
	qemu    *qemu
	agent   *agentConn
	monitor *monitor

	mu        sync.Mutex
	forwards  map[int]string // port of the guest to address of the host
	identity  *identity      // created at its first use
	downloads int            // number of the files of Download
}

// Boot starts a board and returns once its agent answers and its engine is verified to be
// the requested engine. The context bounds the boot only.
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
	// QEMU has read the file by now, and the file may take up memory.
	if err = os.Remove(initramfs); err != nil {
		return m, fmt.Errorf("board: %w", err)
	}
	return m, m.setEngine(ctx, spec.Engine.Async() || spec.Engine == Accelerated && b.marked)
}

// setEngine instantiates the engine's algorithm, and checks that the kernel prefers it and
// marks it asynchronous as expected. It must run only once: pcrypt would wrap itself.
func (m *Machine) setEngine(ctx context.Context, marked bool) (err error) {
	// Since Linux 7, AF_ALG, which instantiate uses, offers only a few algorithms by
	// default. The setting is undone, so that the daemon runs on the board as it boots.
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
	// The kernel may answer while it still tests the new instance. Until Linux 7, a
	// request for the plain name then waits for the test.
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
	plainAES := strings.Contains(best.driver, "ctr(") // composed of a block cipher that takes one block at a time
	if best.async != marked || !best.passed || (best.driver == caamsim.Driver) != (e == CAAM) || e == Accelerated && plainAES {
		return fmt.Errorf("board: engine %v is not the kernel's selection: %+v; leave out modules with a higher priority", e, best)
	}
	m.Driver, m.Marked = best.driver, best.async
	return nil
}

// instantiate makes the kernel build an AEAD from templates.
func (m *Machine) instantiate(ctx context.Context, name string) error {
	return m.agent.call(ctx, wire.OpAEAD, wire.AEAD{Name: name}, nil)
}

// gcm returns the algorithm that the kernel uses for gcm(aes).
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

// lastWords returns the last output of the kernel and QEMU, for an error.
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

// KernelLog returns the kernel's console output so far.
func (m *Machine) KernelLog() (string, error) {
	b, err := os.ReadFile(filepath.Join(m.dir, consoleName))
	if err != nil {
		return "", fmt.Errorf("board: kernel log: %w", err)
	}
	return string(b), nil
}

// halted reports whether the machine cannot power itself off, and its kernel has halted
// instead.
func (m *Machine) halted() (cannot, ended bool) {
	if b, err := m.Spec.Board.machine(); err != nil || !b.halts {
		return false, false
	}
	log, err := m.KernelLog()
	return true, err == nil && strings.Contains(log, "System halted")
}

// awaitOff waits until a machine that was told to power off has ended.
func (m *Machine) awaitOff(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-m.qemu.done:
			return nil
		case <-tick.C: // a kernel that has halted shows it on the console only
			if _, ended := m.halted(); ended {
				return nil
			}
		case <-ctx.Done():
			return errors.New("board: the machine did not power off")
		}
	}
}

// Close shuts the machine down, kills it if it does not shut down, and removes its files on
// the host. It fails if the machine had to be killed, or if the kernel log holds a line that
// a healthy kernel does not write.
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
