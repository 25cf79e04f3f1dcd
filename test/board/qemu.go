package board

import (
	"bytes"
	"context"
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

// consoleName is the file for the kernel's log in a machine's directory.
const consoleName = "console.log"

// A qemu is a running emulator.
type qemu struct {
	cmd    *exec.Cmd
	agent  net.Conn // to the agent's virtio-serial port
	qmp    net.Conn // to the monitor
	stderr *lockedBuffer
	done   chan struct{} // closed when the process has ended
	err    error         // the exit error; set before done is closed
}

// startQEMU starts the emulator, which is killed when this process ends.
func startQEMU(ctx context.Context, dir string, spec Spec, m machine, k *debian.Kernel, initramfs string) (*qemu, error) {
	e, err := debian.FetchEmulator(ctx, spec.Cache, m.qemu, m.model)
	if err != nil {
		return nil, err
	}
	args := append([]string{"-machine", m.model}, m.args...)
	if e.Data != "" {
		args = append(args, "-L", e.Data)
	}
	if m.tree != "" {
		tree, err := k.DeviceTree(m.tree)
		if err != nil {
			return nil, err
		}
		args = append(args, "-dtb", tree)
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

	// The first of ExtraFiles is descriptor 3 of the emulator.
	args = append(args,
		"-accel", "tcg",
		"-m", strconv.Itoa(spec.MemoryMiB),
		"-smp", strconv.Itoa(spec.CPUs),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", k.Image,
		"-initrd", initramfs,
		// no_timer_check: on a busy host x86's check of its timer fails, and the kernel panics.
		"-append", "console="+m.console+" panic=-1 loglevel=7 slab_nomerge no_timer_check",
		"-chardev", "file,id=console,path="+filepath.Join(dir, consoleName),
		"-serial", "chardev:console",
		"-chardev", "socket,id=agent,fd=3",
		"-chardev", "socket,id=qmp,fd=4",
		"-mon", "chardev=qmp,mode=control",
	)
	args = append(args, m.devices()...)
	if spec.CountedClock {
		args = append(args, "-icount", "shift=0,sleep=on")
	}
	if spec.Disk != "" {
		if m.bus == "" {
			return nil, fmt.Errorf("board: %s has no virtio, and so no disk", m.name)
		}
		args = append(args,
			"-drive", "if=none,id=disk,format=raw,snapshot=on,file="+spec.Disk,
			"-device", "virtio-blk-"+m.bus+",drive=disk",
		)
	}
	q := &qemu{agent: agent, qmp: qmp, stderr: &lockedBuffer{}, done: make(chan struct{})}
	q.cmd = exec.Command(e.Path, args...)
	q.cmd.Stderr = q.stderr
	q.cmd.ExtraFiles = []*os.File{agentFile, qmpFile}
	// QEMU has its own process group: Ctrl-C goes only to this process, which then shuts the board down.
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}

	started := make(chan error)
	go func() {
		// Pdeathsig takes effect at the end of the starting thread, so this thread stays as long
		// as the emulator runs.
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

// devices returns the agent's connection and the network. A board without virtio has its own
// network device, and the agent is connected over that.
func (m machine) devices() []string {
	if m.bus == "" {
		return []string{"-nic", "user,id=net0,restrict=on,guestfwd=tcp:" + agentAddress + "-chardev:agent"}
	}
	return []string{
		"-device", "virtio-serial-" + m.bus,
		"-device", "virtserialport,chardev=agent,name=" + wire.Port,
		"-netdev", "user,id=net0,restrict=on",
		"-device", "virtio-net-" + m.bus + ",netdev=net0",
		"-device", "virtio-rng-" + m.bus,
	}
}

// kill ends the emulator, which may have ended already, and waits for it.
func (q *qemu) kill() error {
	err := q.cmd.Process.Kill()
	<-q.done
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, q.agent.Close(), q.qmp.Close())
}

// pair makes a connected pair of sockets: one end for this process, one for QEMU. Such
// sockets have no name in a file system that could be in use or left behind.
func pair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("board: %w", os.NewSyscallError("socketpair", err))
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	c, err := net.FileConn(ours)
	ours.Close() // FileConn has made its own descriptor
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
