package board

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/debian"
	"uringhttpd/test/board/wire"
)

// consoleName is the file in a machine's folder that gets the kernel's log.
const consoleName = "console.log"

// A qemu is one running emulator.
type qemu struct {
	cmd    *exec.Cmd
	agent  net.Conn // to the agent's virtio-serial port
	qmp    net.Conn // to the monitor
	stderr *lockedBuffer
	done   chan struct{} // closed when the process has ended
	err    error         // how; set before done is closed
}

// startQEMU starts the emulator. It dies with this process.
func startQEMU(dir string, spec Spec, m machine, k *debian.Kernel, initramfs string) (*qemu, error) {
	path, err := exec.LookPath(m.qemu)
	if err != nil {
		return nil, fmt.Errorf("board: %w; install qemu-system-x86, qemu-system-arm and ipxe-qemu", err)
	}
	agent, agentFile, err := pair("agent")
	if err != nil {
		return nil, err
	}
	defer agentFile.Close()
	qmp, qmpFile, err := pair("qmp")
	if err != nil {
		agent.Close()
		return nil, err
	}
	defer qmpFile.Close()

	// The first of ExtraFiles is descriptor 3 there.
	args := append([]string{}, m.args...)
	args = append(args,
		"-accel", "tcg",
		"-m", strconv.Itoa(spec.MemoryMiB),
		"-smp", strconv.Itoa(spec.CPUs),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", k.Image,
		"-initrd", initramfs,
		"-append", "console="+m.console+" panic=-1 loglevel=7",
		"-chardev", "file,id=console,path="+filepath.Join(dir, consoleName),
		"-serial", "chardev:console",
		"-chardev", "socket,id=agent,fd=3",
		"-device", "virtio-serial-"+m.bus,
		"-device", "virtserialport,chardev=agent,name="+wire.Port,
		"-chardev", "socket,id=qmp,fd=4",
		"-mon", "chardev=qmp,mode=control",
		"-netdev", "user,id=net0,restrict=on",
		"-device", "virtio-net-"+m.bus+",netdev=net0",
		"-device", "virtio-rng-"+m.bus,
	)
	q := &qemu{agent: agent, qmp: qmp, stderr: &lockedBuffer{}, done: make(chan struct{})}
	q.cmd = exec.Command(path, args...)
	q.cmd.Stderr = q.stderr
	q.cmd.ExtraFiles = []*os.File{agentFile, qmpFile}
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	started := make(chan error)
	go func() {
		// Pdeathsig counts from the end of the starting thread, so this one
		// stays for as long as the emulator does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := q.cmd.Start()
		started <- err
		if err == nil {
			q.err = q.cmd.Wait()
			close(q.done)
		}
	}()
	if err := <-started; err != nil {
		agent.Close()
		qmp.Close()
		return nil, fmt.Errorf("board: %w", err)
	}
	return q, nil
}

// kill ends the emulator and waits for it. It may have ended already.
func (q *qemu) kill() error {
	err := q.cmd.Process.Kill()
	<-q.done
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, q.agent.Close(), q.qmp.Close())
}

// pair makes a connected pair of sockets: one end for us, one for QEMU. No
// name in a file system, so nothing to collide with and nothing to clean up.
func pair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("board: %w", os.NewSyscallError("socketpair", err))
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	c, err := net.FileConn(ours)
	ours.Close() // FileConn has made its own
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("board: %w", err)
	}
	return c, theirs, nil
}

// A lockedBuffer can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
