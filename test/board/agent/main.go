package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "agent: this is the first process of an emulated board; boot one with package board instead")
		os.Exit(2)
	}
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// A board that cannot power off restarts, and QEMU ends at a restart.
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// run initializes the board and serves until the host requests the shutdown.
func run() error {
	if err := mount(); err != nil {
		return err
	}
	b, err := os.ReadFile(wire.ConfigPath)
	if err != nil {
		return err
	}
	var cfg wire.Config
	if err := json.Unmarshal(b, &cfg); err != nil {
		return fmt.Errorf("%s: %w", wire.ConfigPath, err)
	}
	now := unix.NsecToTimeval(cfg.Now.UnixNano())
	if err := unix.Settimeofday(&now); err != nil {
		return os.NewSyscallError("settimeofday", err)
	}
	// The same as LimitNOFILE= in the unit: the kernel's default is too low for the default
	// of limits.connections.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1 << 16, Max: 1 << 16}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	for _, name := range cfg.Modules {
		if err := load(name); err != nil {
			return err
		}
	}
	if err := network(cfg.Address); err != nil {
		return err
	}
	port, err := openHost(cfg.Host)
	if err != nil {
		return err
	}
	defer port.Close()
	return serve(port)
}

// mount mounts the kernel's file systems and the directories that tests write to.
func mount() error {
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"tmpfs", "/run", "mode=0755"},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/srv", "mode=0755"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.kind, m.at, m.kind, 0, m.options)
		// The kernel may have mounted /dev already.
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	return nil
}

// load loads an uncompressed module.
func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w (the kernel log says more)", name, err)
	}
	return nil
}

// module loads or unloads a module.
func module(m wire.Module) error {
	if !m.Unload {
		return load(wire.ModulePath(m.Name))
	}
	if err := unix.DeleteModule(m.Name, unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("unload module %s: %w", m.Name, err)
	}
	return nil
}

// openHost opens the connection to the host.
func openHost(address string) (io.ReadWriteCloser, error) {
	if address == "" {
		return openPort(wire.Port)
	}
	// The link may not be up yet; TCP repeats the SYN until it is.
	return net.DialTimeout("tcp", address, time.Minute)
}

// openPort opens the virtio-serial port of that name, for blocking calls: the port exists
// from boot to power-off, and the agent waits for nothing else.
func openPort(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil || strings.TrimSpace(string(b)) != name {
			continue
		}
		dev := "/dev/" + filepath.Base(filepath.Dir(n))
		fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: dev, Err: err}
		}
		return os.NewFile(uintptr(fd), dev), nil
	}
	return nil, fmt.Errorf("no virtio-serial port has the name %s (found %q); is virtio_console loaded?", name, names)
}

// signalNumber returns the signal that ended a process, or 0.
func signalNumber(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return int(ws.Signal())
	}
	return 0
}
