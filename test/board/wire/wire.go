package wire

import (
	"encoding/json"
	"time"

	"uringhttpd/test/board/pattern"
)

// Port is the name of the virtio-serial port.
const Port = "uringhttpd.agent"

// OtherHost is an address of the board that is no loopback address, nor one that
// the daemon is reached by: who comes from there is to the daemon on another machine.
const OtherHost = "192.0.2.1"

// ConfigPath is where the agent finds its Config in the initial root.
const ConfigPath = "/board.json"

// MaxLine bounds a line in bytes; MaxData bounds the bytes of a file in one
// request or response, so that their base64 fits.
const (
	MaxLine = 8 << 20
	MaxData = 4 << 20
	// Piece is what a large file is cut into: memory is small on a board.
	Piece = 1 << 20
)

// Config is what the agent needs before it can talk.
type Config struct {
	Modules []string  `json:"modules"`        // paths, in the order to load them
	Now     time.Time `json:"now"`            // boards without a clock start in 1970
	Address string    `json:"address"`        // of eth0, with its prefix length
	Host    string    `json:"host,omitempty"` // address to connect to; "" means the virtio-serial port
}

// Op names a request.
type Op string

// The requests, each with the types of its arguments and result.
const (
	OpHello     Op = "hello"     // none        -> Hello
	OpWrite     Op = "write"     // Write       -> none
	OpAlter     Op = "alter"     // Alter       -> none
	OpPattern   Op = "pattern"   // Pattern     -> none
	OpRead      Op = "read"      // Read        -> Data
	OpRemove    Op = "remove"    // Read        -> none
	OpRun       Op = "run"       // Command     -> Exit
	OpStart     Op = "start"     // Command     -> Started
	OpSignal    Op = "signal"    // Signal      -> none
	OpWait      Op = "wait"      // Handle      -> Exit
	OpOutput    Op = "output"    // Handle      -> Exit, Exited false
	OpProcess   Op = "process"   // Handle      -> Process
	OpListening Op = "listening" // Listening   -> none
	OpAEAD      Op = "aead"      // AEAD        -> none
	OpModule    Op = "module"    // Module      -> none
	OpNetem     Op = "netem"     // Netem       -> none
	OpMap       Op = "map"       // Map         -> none
	OpSuspend   Op = "suspend"   // Suspend     -> none
	OpMount     Op = "mount"     // Mount       -> none
	OpQueue     Op = "queue"     // Queue       -> none
	OpDropped   Op = "dropped"   // Queue       -> Dropped
	OpShutdown  Op = "shutdown"  // none        -> none, and the machine goes off
)

// Request is one line to the agent.
type Request struct {
	ID      uint64          `json:"id"`
	Op      Op              `json:"op"`
	Timeout time.Duration   `json:"timeout"` // nanoseconds
	Args    json.RawMessage `json:"args,omitempty"`
}

// Response is one line from the agent. Error is empty on success.
type Response struct {
	ID     uint64          `json:"id"`
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Hello is the agent's account of the board.
type Hello struct {
	Kernel  string `json:"kernel"`  // release, as uname -r has it
	Machine string `json:"machine"` // as uname -m has it
	CPUs    int    `json:"cpus"`
}

// Write stores Data in a file, at its end if Append is set. A new file gets
// mode Mode, and directories above it are made.
type Write struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode"`
	Append bool   `json:"append,omitempty"`
	Data   []byte `json:"data"`
}

// Alter changes a file in place: it gets Size, unless that is nil, and then Data at
// Offset.
type Alter struct {
	Path   string `json:"path"`
	Size   *int64 `json:"size,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Data   []byte `json:"data,omitempty"`
}

// Pattern makes a file of generated content; its hole is a real one.
type Pattern struct {
	Path    string          `json:"path"`
	Content pattern.Content `json:"content"`
}

// Read names a file. More than MaxData bytes are an error.
type Read struct {
	Path string `json:"path"`
}

// Data is a file's content.
type Data struct {
	Data []byte `json:"data"`
}

// Command is a program to run. Env is added to an environment with PATH only;
// Nice is its priority, from -20 (first) to 19.
type Command struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	Nice int      `json:"nice,omitempty"`
}

// Handle names a program started in the background.
type Handle struct {
	Handle int `json:"handle"`
}

// Started is a program in the background.
type Started struct {
	Handle int `json:"handle"`
	PID    int `json:"pid"`
}

// Signal is sent to the program itself, not to its children.
type Signal struct {
	Handle int `json:"handle"`
	Signal int `json:"signal"`
}

// Exit is how a program fared. Of Stdout and Stderr only the last 256 KiB are
// kept; Dropped counts the bytes lost.
type Exit struct {
	Exited  bool   `json:"exited"`
	Status  int    `json:"status"` // exit status, or -1 if a signal ended it
	Signal  int    `json:"signal"` // that signal
	Stdout  []byte `json:"stdout,omitempty"`
	Stderr  []byte `json:"stderr,omitempty"`
	Dropped int64  `json:"dropped,omitempty"`
}

// Process is what a running program holds.
type Process struct {
	FDs     []string `json:"fds"`     // what each descriptor is, as its link in /proc says
	Threads []string `json:"threads"` // their names; io_uring's kernel threads are among them
	Workers []string `json:"workers"` // where each of those kernel threads is, and others that no signal reaches
	RSS     int64    `json:"rss"`     // bytes
	Locked  int64    `json:"locked"`  // bytes locked and pinned
}

// Listening waits until a TCP socket of the board listens on Port.
type Listening struct {
	Port int `json:"port"`
}

// AEAD asks the kernel for an algorithm, by which templates are instantiated.
type AEAD struct {
	Name string `json:"name"` // such as cryptd(gcm(aes))
}

// Module loads one of Config's modules, or takes it out of the kernel, which must not
// use it.
type Module struct {
	Name   string `json:"name"`
	Unload bool   `json:"unload,omitempty"`
}

// ModulePath is where the agent finds a module in the initial root.
func ModulePath(name string) string { return "/lib/modules/" + name + ".ko" }

// Netem makes a network device drop and delay what is sent on it
// (net/sched/sch_netem.c). The zero value makes it as it was.
type Netem struct {
	Device string        `json:"device"`
	Loss   float64       `json:"loss"` // of packets, from 0 to 1
	Delay  time.Duration `json:"delay"`
	Jitter time.Duration `json:"jitter"`
}

// Map gives the one device of the device mapper its table, and makes the device if
// it is not there: /dev/dm-0.
type Map struct {
	Name    string   `json:"name"`
	Targets []Target `json:"targets"`
}

// A Target is a line of such a table (Documentation/admin-guide/device-mapper).
// Start and Length are bytes of the device.
type Target struct {
	Start      int64  `json:"start"`
	Length     int64  `json:"length"`
	Type       string `json:"type"` // linear, error, delay
	Parameters string `json:"parameters,omitempty"`
}

// Suspend makes a mapped device answer nothing until it is not suspended any more.
type Suspend struct {
	Name      string `json:"name"`
	Suspended bool   `json:"suspended"`
}

// Mount mounts a block device; the directory is made.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Type     string `json:"type"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Queue is a network device's queue for what goes out: the kind of queueing
// discipline, and its options as netlink attributes. No Kind takes it away.
type Queue struct {
	Device  string `json:"device"`
	Kind    string `json:"kind,omitempty"`
	Options []byte `json:"options,omitempty"`
}

// Dropped is how many packets a queue has thrown away.
type Dropped struct {
	Packets int64 `json:"packets"`
}
