package board

import (
	"fmt"

	"uringhttpd/test/board/debian"
)

// A Board is a machine QEMU emulates, with a kernel.
type Board int

// The boards.
const (
	AMD64_612 Board = iota // PC, 64-bit, Linux 6.12
	ARMv7_612              // 32-bit ARM, Cortex-A7, Linux 6.12
)

// An Engine is who does gcm(aes) for the kernel.
type Engine int

// The engines.
const (
	// Sync is the kernel's generic code, which has encrypted when it returns.
	Sync Engine = iota
	// Cryptd wraps that in a kernel thread: it returns at once and completes
	// later, as a hardware engine does.
	Cryptd
)

func (e Engine) String() string {
	switch e {
	case Sync:
		return "sync"
	case Cryptd:
		return "cryptd"
	}
	return fmt.Sprintf("Engine(%d)", int(e))
}

// template is the algorithm to instantiate so that the engine is there.
func (e Engine) template() string {
	if e == Cryptd {
		return "cryptd(gcm(aes))"
	}
	return "gcm(aes)"
}

// machine is what QEMU, Debian and Go call a board.
type machine struct {
	name    string
	kernel  debian.Want
	qemu    string
	args    []string
	console string   // the kernel's serial console
	bus     string   // suffix of virtio devices
	modules []string // beyond those every board loads
	goarch  string
	goenv   []string
	// serveEnv is what the daemon needs to choose AES-GCM.
	serveEnv []string
}

// modules every board loads: the devices, kernel TLS, and what gcm(aes) is
// made of. Accelerated ciphers stay out: their wrappers call themselves
// asynchronous while they are not, and outrank cryptd.
var modules = []string{
	"virtio_net", "virtio_console", "virtio_rng",
	"tls", "gcm", "ctr", "ghash_generic", "algif_aead",
}

func (b Board) machine() (machine, error) {
	switch b {
	case AMD64_612:
		return machine{
			name:    "amd64",
			kernel:  debian.Want{Architecture: "amd64", Series: "6.12", Flavour: "amd64"},
			qemu:    "qemu-system-x86_64",
			args:    []string{"-machine", "q35", "-cpu", "max"},
			console: "ttyS0",
			bus:     "pci",
			modules: []string{"virtio_pci", "aes_generic"},
			goarch:  "amd64",
		}, nil
	case ARMv7_612:
		return machine{
			name:    "armv7",
			kernel:  debian.Want{Architecture: "armhf", Series: "6.12", Flavour: "armmp"},
			qemu:    "qemu-system-arm",
			args:    []string{"-machine", "virt", "-cpu", "cortex-a7"},
			console: "ttyAMA0",
			bus:     "device",
			modules: []string{"virtio_mmio", "aes_arm"},
			goarch:  "arm",
			goenv:   []string{"GOARM=7"},
			// crypto/tls prefers ChaCha20 on 32-bit ARM, except in FIPS mode.
			serveEnv: []string{"GODEBUG=fips140=on"},
		}, nil
	}
	return machine{}, fmt.Errorf("board: no board has number %d", int(b))
}

func (b Board) String() string {
	m, err := b.machine()
	if err != nil {
		return fmt.Sprintf("Board(%d)", int(b))
	}
	return m.name
}

// A Spec says what to boot. Board and Engine have useful zero values; the rest
// must be set, or is as the comment says.
type Spec struct {
	Board  Board
	Engine Engine
	// Program is the host's path of the program under test, built for the
	// board; it becomes ProgramPath. Build builds one.
	Program string
	// Wrong are further programs to start by StartDaemon: names for
	// Daemon.Wrong, and host's paths.
	Wrong map[string]string
	// Cache is the folder kernels are kept in; DefaultCache is a good one.
	Cache string
	// MemoryMiB defaults to 512, what the boards in the field have.
	MemoryMiB int
	// CPUs defaults to 1.
	CPUs int
	// Modules are loaded beyond those every board needs.
	Modules []string
}

// Where things are on a board.
const (
	ProgramPath  = "/bin/uringhttpd"
	DownloadPath = "/bin/download" // the client of package client
	Root         = "/srv"          // a tmpfs: the folder to serve
)
