package board

import (
	"fmt"

	"uringhttpd/test/board/debian"
	"uringhttpd/test/board/wire"
)

// A Board is a machine that QEMU emulates, with a kernel.
type Board int

// The boards.
const (
	AMD64_612     Board = iota // PC, 64-bit, Linux 6.12
	AMD64_61                   // the same with Linux 6.1, the oldest supported version
	AMD64_New                  // the same with the newest Linux that Debian builds for a release
	ARM64_612                  // 64-bit ARM, Cortex-A53, Linux 6.12
	AArch32_612                // the same board and kernel with 32-bit programs
	ARMv7_612                  // 32-bit ARM, Cortex-A7, Linux 6.12
	IMX8MP_612                 // NXP's i.MX 8M Plus evaluation kit, Linux 6.12
	Sabrelite_612              // the SABRE Lite, an i.MX 6Quad, Linux 6.12
)

// An Engine is the driver that computes gcm(aes) for the kernel.
type Engine int

// The engines.
const (
	// Sync is the kernel's generic code. It encrypts before it returns.
	Sync Engine = iota
	// Cryptd runs the generic code in a kernel thread: calls return at once and complete
	// later, as with a hardware engine.
	Cryptd
	// Pcrypt passes the work to the kernel's parallel workers, in order. It is used on
	// boards without a cryptd that passes the kernel's self-test.
	Pcrypt
	// CAAM is the driver of package caamsim, which models the engine of i.MX boards.
	CAAM
	// Accelerated is the kernel's code for the processor's AES instructions or vector
	// registers. It encrypts before it returns, even where the kernel marks it
	// asynchronous; but on 32-bit ARM a kernel thread computes the hash.
	Accelerated
)

func (e Engine) String() string {
	switch e {
	case Sync:
		return "sync"
	case Cryptd:
		return "cryptd"
	case Pcrypt:
		return "pcrypt"
	case CAAM:
		return "caam"
	case Accelerated:
		return "accelerated"
	}
	return fmt.Sprintf("Engine(%d)", int(e))
}

// Async reports whether the kernel completes records after the call that submitted
// them. Tests use the engine for this property.
func (e Engine) Async() bool { return e != Sync && e != Accelerated }

// template is the algorithm to instantiate so that the engine exists; driver
// computes gcm(aes) without the engine.
func (e Engine) template(driver string) string {
	switch e {
	case Cryptd:
		return "cryptd(gcm(aes))"
	case Pcrypt:
		// With the algorithm's name, the kernel would add a dozen layers.
		return "pcrypt(" + driver + ")"
	}
	return "gcm(aes)"
}

// modules are the kernel modules that the engine needs beyond those of every board.
func (e Engine) modules(m machine) []string {
	switch e {
	case Sync, CAAM:
		return nil
	case Accelerated:
		return m.vector
	}
	return []string{e.String()}
}

// machine holds the names that QEMU, Debian and Go use for a board.
type machine struct {
	name    string
	kernel  debian.Want
	qemu    string
	model   string // QEMU's name for it
	args    []string
	tree    string   // its device tree, if QEMU does not make one
	console string   // the kernel's serial console
	bus     string   // suffix of virtio devices; "" if there are none
	modules []string // beyond those that every board loads
	ciphers []string // the modules for them, where the kernel has not built them in
	vector  []string // the modules of Accelerated, including ChaCha20-Poly1305
	marked  bool     // the kernel marks Accelerated asynchronous (crypto/simd.c)
	goarch  string
	goenv   []string
	halts   bool // it cannot switch its power off: the kernel halts
}

// modules are loaded by every board: kernel TLS, and the components of gcm(aes). Accelerated
// ciphers are only for the engine Accelerated, since their priority is above cryptd's.
var modules = []string{"tls", "gcm", "ctr", "algif_aead"}

// ChaChaModules are the modules for ChaCha20-Poly1305 in the kernel.
func (b Board) ChaChaModules() []string {
	if b == AMD64_New {
		return []string{"chacha20poly1305", "chacha"}
	}
	return []string{"chacha20poly1305", "chacha_generic", "poly1305_generic"}
}

// generic are the modules of the kernel's plain code for it. Newer kernels have them built in.
var generic = []string{"ghash_generic", "aes_generic"}

// The modules of Accelerated.
var (
	amd64Vector = []string{"aesni_intel", "ghash_clmulni_intel", "chacha_x86_64", "poly1305_x86_64", "chacha20poly1305"}
	arm64Vector = []string{"aes_ce_blk", "ghash_ce", "chacha_neon", "poly1305_neon", "chacha20poly1305"}
	// Without AES instructions: AES is bit-sliced, in NEON registers.
	armv7Vector = []string{"aes_arm_bs", "ghash_arm_ce", "chacha_neon", "poly1305_arm", "chacha20poly1305"}
)

// devices are the modules for QEMU's devices.
var devices = []string{"virtio_net", "virtio_console", "virtio_rng"}

// The kernels, by Debian's names.
var (
	amd64Kernel = debian.Want{Architecture: "amd64", Series: "6.12", Flavour: "amd64"}
	amd64Oldest = debian.Want{Architecture: "amd64", Series: "6.1", Flavour: "amd64"}
	amd64Newest = debian.Want{Architecture: "amd64", Series: "7", Flavour: "amd64"}
	arm64Kernel = debian.Want{Architecture: "arm64", Series: "6.12", Flavour: "arm64"}
	armv7Kernel = debian.Want{Architecture: "armhf", Series: "6.12", Flavour: "armmp"}
)

func (b Board) machine() (machine, error) {
	switch b {
	case AMD64_612:
		return amd64("amd64", amd64Kernel), nil
	case AMD64_61:
		return amd64("amd64-6.1", amd64Oldest), nil
	case AMD64_New:
		m := amd64("amd64-new", amd64Newest)
		m.ciphers, m.marked = nil, false
		return m, nil
	case ARM64_612:
		return arm64(), nil
	case AArch32_612:
		return aarch32(), nil
	case ARMv7_612:
		return armv7(), nil
	case IMX8MP_612:
		return imx8mp(), nil
	case Sabrelite_612:
		return sabrelite(), nil
	}
	return machine{}, fmt.Errorf("board: no board has number %d", int(b))
}

func amd64(name string, kernel debian.Want) machine {
	return machine{
		name:   name,
		kernel: kernel,
		qemu:   "qemu-system-x86_64",
		model:  "q35",
		// QEMU executes a fast string move of x86 byte by byte; this kernel does not use it.
		args:    []string{"-cpu", "max,-erms,-fsrm"},
		console: "ttyS0",
		bus:     "pci",
		modules: append([]string{"virtio_pci"}, devices...),
		ciphers: generic,
		vector:  amd64Vector,
		marked:  true,
		goarch:  "amd64",
	}
}

func arm64() machine {
	return machine{
		name:    "arm64",
		kernel:  arm64Kernel,
		qemu:    "qemu-system-aarch64",
		model:   "virt",
		args:    []string{"-cpu", "cortex-a53"},
		console: "ttyAMA0",
		bus:     "device",
		modules: append([]string{"virtio_mmio"}, devices...),
		ciphers: generic,
		vector:  arm64Vector,
		goarch:  "arm64",
	}
}

func armv7() machine {
	return arm32(machine{
		name:    "armv7",
		kernel:  armv7Kernel,
		qemu:    "qemu-system-arm",
		model:   "virt",
		args:    []string{"-cpu", "cortex-a7"},
		console: "ttyAMA0",
		bus:     "device",
		modules: append([]string{"virtio_mmio", "aes_arm"}, devices...),
		ciphers: generic,
		vector:  armv7Vector,
		marked:  true,
	})
}

// aarch32 is the first system on which the loss was reported: 32-bit programs on a 64-bit kernel.
func aarch32() machine {
	m := arm32(arm64())
	m.name = "aarch32"
	return m
}

// imx8mp has only the devices of the real board: the network is its FEC.
func imx8mp() machine {
	return machine{
		name:   "imx8mp",
		kernel: arm64Kernel,
		qemu:   "qemu-system-aarch64",
		model:  "imx8mp-evk",
		// In the device tree the PHY has address 1, and the console is on the second port.
		args:    []string{"-global", "fsl-imx8mp.fec1-phy-num=1", "-serial", "null"},
		tree:    "freescale/imx8mp-evk.dtb",
		console: "ttymxc1",
		modules: []string{"nvmem_imx_ocotp", "fec"},
		ciphers: generic,
		vector:  arm64Vector,
		goarch:  "arm64",
	}
}

// sabrelite has only the devices of the real board, too.
func sabrelite() machine {
	return arm32(machine{
		name:    "sabrelite",
		kernel:  armv7Kernel,
		qemu:    "qemu-system-arm",
		model:   "sabrelite",
		args:    []string{"-serial", "null"}, // the console is on the second port
		tree:    "imx6q-sabrelite.dtb",
		console: "ttymxc1",
		modules: []string{"nvmem_imx_ocotp", "gpio_mxc", "fec", "aes_arm"},
		ciphers: generic,
		vector:  armv7Vector,
		marked:  true,
		halts:   true,
	})
}

// arm32 runs 32-bit ARM programs on a machine.
func arm32(m machine) machine {
	m.goarch, m.goenv = "arm", []string{"GOARM=7"}
	return m
}

func (b Board) String() string {
	m, err := b.machine()
	if err != nil {
		return fmt.Sprintf("Board(%d)", int(b))
	}
	return m.name
}

// A Spec describes a board to boot. Board and Engine have useful zero values; the other
// fields must be set, or have the default that their comment names.
type Spec struct {
	Board  Board
	Engine Engine
	// Program is the host's path of the program under test, built for the
	// board; it becomes ProgramPath. Build builds such a program.
	Program string
	// Wrong are further programs for StartDaemon: names for Daemon.Wrong, and
	// paths on the host.
	Wrong map[string]string
	// Cache is the directory that keeps the kernels; use DefaultCache.
	Cache string
	// MemoryMiB defaults to 512, as on the boards in the field.
	MemoryMiB int
	// CPUs defaults to 1.
	CPUs int
	// CountedClock makes the board's clock count instructions, one per nanosecond, while
	// the board computes. Times then do not depend on the load of the host, but are not
	// the times of a real processor. There must be one CPU. A sleep takes as long as on
	// the host: a clock that skipped sleeps would let deadlines pass at once.
	CountedClock bool
	// Modules are loaded beyond those that every board needs.
	Modules []string
	// Disk is the host's path of a disk image, on a board with virtio. MountDisk mounts
	// it below Root, as the directory disk. Data written to it is lost.
	Disk string
}

// Paths and addresses on a board.
const (
	ProgramPath  = "/bin/uringhttpd"
	DownloadPath = "/bin/download" // the client of package client
	Root         = "/srv"          // a tmpfs, which the daemon serves
	DiskRoot     = Root + "/disk"  // mount point of Spec.Disk
	OtherHost    = wire.OtherHost  // an address of the board that looks like another machine's
	SoCPath      = "/sys/devices/soc0/soc_id"
)
