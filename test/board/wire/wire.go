package wire

import (
	"encoding/json"
	"time"

	"uringhttpd/test/board/pattern"
)

// Port is the name of the virtio-serial port.
const Port = "uringhttpd.agent"

// OtherHost is an address of the board that is neither a loopback address nor the daemon's: the
// daemon takes a client with this address for another machine.
const OtherHost = "192.0.2.1"

// ConfigPath is the path of the agent's Config in the initial root.
const ConfigPath = "/board.json"

// MaxLine limits a line in bytes; MaxData limits the bytes of a file in one request or
// response, so that their base64 fits.
const (
	MaxLine = 8 << 20
	MaxData = 4 << 20
	// Piece is the size of the pieces of a large file: a board has little memory.
	Piece = 1 << 20
)

// Config holds the agent's settings that it needs before the first request.
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
	OpTouch     Op = "touch"     // Read        -> none
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
	OpShutdown  Op = "shutdown"  // none        -> none, and the machine powers off
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

// Hello describes the board.
type Hello struct {
	Kernel  string `json:"kernel"`  // release, as in uname -r
	Machine string `json:"machine"` // as in uname -m
	CPUs    int    `json:"cpus"`
}

// Write stores Data in a file, at its end if Append is set. A new file gets mode Mode, and the
// directories above it are made.
type Write struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode"`
	Append bool   `json:"append,omitempty"`
	Data   []byte `json:"data"`
}

// Alter changes a file in place: it gets Size, unless that is nil, and then Data at Offset.
type Alter struct {
	Path   string `json:"path"`
	Size   *int64 `json:"size,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Data   []byte `json:"data,omitempty"`
}

// Pattern makes a file of generated content. Its hole is a hole in the file system, too.
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

// Command is a program to run. The environment is PATH and Env; Nice is the priority, from -20
// (highest) to 19.
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

// Exit is the result of a program. Only the last 256 KiB of Stdout and Stderr are kept; Dropped
// counts the bytes lost.
type Exit struct {
	Exited  bool   `json:"exited"`
	Status  int    `json:"status"` // exit status, or -1 if a signal ended it
	Signal  int    `json:"signal"` // the signal that ended it
	Stdout  []byte `json:"stdout,omitempty"`
	Stderr  []byte `json:"stderr,omitempty"`
	Dropped int64  `json:"dropped,omitempty"`
}

// Process holds the resources of a running program.
type Process struct {
	FDs     []string `json:"fds"`     // the target of each descriptor's link in /proc
	Threads []string `json:"threads"` // their names, including io_uring's kernel threads
	Workers []string `json:"workers"` // the kernel stacks of io_uring's threads, and of others that no signal reaches
	RSS     int64    `json:"rss"`     // bytes
	Locked  int64    `json:"locked"`  // bytes locked and pinned
}

// Listening waits until a TCP socket of the board listens on Port.
type Listening struct {
	Port int `json:"port"`
}

// AEAD requests an algorithm from the kernel, which instantiates its templates.
type AEAD struct {
	Name string `json:"name"` // such as cryptd(gcm(aes))
}

// Module loads or unloads one of Config's modules. On unload the kernel must not use it.
type Module struct {
	Name   string `json:"name"`
	Unload bool   `json:"unload,omitempty"`
}

// ModulePath returns the path of a module in the initial root.
func ModulePath(name string) string { return "/lib/modules/" + name + ".ko" }

// Netem makes a network device drop and delay the packets it sends (net/sched/sch_netem.c).
// The zero value restores the device.
type Netem struct {
	Device string        `json:"device"`
	Loss   float64       `json:"loss"` // of packets, from 0 to 1
	Delay  time.Duration `json:"delay"`
	Jitter time.Duration `json:"jitter"`
}

// Map gives the only device of the device mapper, /dev/dm-0, its table, and makes the device if
// it is absent.
type Map struct {
	Name    string   `json:"name"`
	Targets []Target `json:"targets"`
}

// A Target is a line of such a table (Documentation/admin-guide/device-mapper). Start and Length
// are in bytes of the device.
type Target struct {
	Start      int64  `json:"start"`
	Length     int64  `json:"length"`
	Type       string `json:"type"` // linear, error, delay
	Parameters string `json:"parameters,omitempty"`
}

// Suspend makes a mapped device hold all requests until it is resumed.
type Suspend struct {
	Name      string `json:"name"`
	Suspended bool   `json:"suspended"`
}

// Mount mounts a block device on a directory, which is made.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Type     string `json:"type"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Queue sets a network device's output queue: the kind of queueing discipline, and its options as
// netlink attributes. An empty Kind removes the queue.
type Queue struct {
	Device  string `json:"device"`
	Kind    string `json:"kind,omitempty"`
	Options []byte `json:"options,omitempty"`
}

// Dropped is the number of packets that a queue has dropped.
type Dropped struct {
	Packets int64 `json:"packets"`
}
