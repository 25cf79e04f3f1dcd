package matrix

import (
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
)

// A Cell is one row of Boards, with the names of the levels.
type Cell struct {
	Kernel, Engine, TLS, Cipher, Client, Place, Buffers, Network string
}

// Cell returns the Cell of a row of Boards.
func (m *Model) Cell(r Row) Cell {
	return Cell{
		Kernel: m.Level(r, Kernel), Engine: m.Level(r, Engine),
		TLS: m.Level(r, TLS), Cipher: m.Level(r, Cipher),
		Client: m.Level(r, Client), Place: m.Level(r, Place),
		Buffers: m.Level(r, Buffers), Network: m.Level(r, Network),
	}
}

// Machine returns the machine to boot for a cell: BOARD-ENGINE.
func (c Cell) Machine() string { return c.Kernel + "-" + c.Engine }

func (c Cell) String() string {
	return strings.Join([]string{c.Machine(), "TLS " + c.TLS, c.Cipher, c.Client, c.Place, c.Buffers + " buffers", c.Network}, ", ")
}

// InKernel reports whether the cell's connections use kernel TLS: the kernel has ChaCha20
// where the engine is synchronous, and elsewhere that cipher runs in user space.
func (c Cell) InKernel() bool {
	return c.Cipher != chacha || c.Engine == "sync" || c.Engine == accelerated
}

// Sharp reports whether send buffers are small, so that records wait inside kernel TLS.
func (c Cell) Sharp() bool { return c.Buffers == sharp }

// Depth returns the number of requests that the ring of the engine CAAM has room for, if the
// cell has that engine: few, so that the kernel has to wait for room, or so many that only the
// daemon limits the data that piles up.
func (c Cell) Depth() int {
	if c.Sharp() {
		return 4
	}
	return 512
}

// Lossy reports whether the network drops and delays packets.
func (c Cell) Lossy() bool { return c.Network == lossy }

// A place is the size of a download, and its offset in a file.
type place struct {
	name   string
	size   int64 // of the file, or of a range of it if offset is not 0
	offset int64
}

// The sizes are at and around the units of a transfer: a byte, a record (which is also the size
// of the last piece), a chunk (which is also the size of a pipe), a chunk with a last piece. The
// ranges include offsets around the limits of 31 and 32 bits.
var places = []place{
	{name: "0", size: 0},
	{name: "1", size: 1},
	{name: "record - 1", size: 16<<10 - 1},
	{name: "record", size: 16 << 10},
	{name: "record + 1", size: 16<<10 + 1},
	{name: "chunk - 1", size: 64<<10 - 1},
	{name: "chunk", size: 64 << 10},
	{name: "chunk + 1", size: 64<<10 + 1},
	{name: "chunk and piece - 1", size: 80<<10 - 1},
	{name: "chunk and piece", size: 80 << 10},
	{name: "chunk and piece + 1", size: 80<<10 + 1},
	{name: "256 KiB + 1", size: 256<<10 + 1},
	{name: "2 MiB + 5", size: 2<<20 + 5},
	{name: "across 2 GiB", size: 100<<10 + 1, offset: 2<<30 - 50_000},
	{name: "across 4 GiB", size: 100<<10 + 1, offset: 4<<30 - 50_000},
}

// Suites are the cipher suites of TLS 1.3 by level of Cipher.
var suites = map[string]uint16{
	aes128: tls.TLS_AES_128_GCM_SHA256,
	aes256: tls.TLS_AES_256_GCM_SHA384,
	chacha: tls.TLS_CHACHA20_POLY1305_SHA256,
}

// A behaviour is a kind of client. Its options are added to the options of the cell.
type behaviour struct {
	name      string
	downloads int // of a small file; 0: usual
	parallel  int // 0: usual
	options   client.Options
}

// Timing of the clients. Silence is longer than the daemon's stall_timeout, which is longer than
// one of many clients waits for service on a slow board: 10 s have been measured.
const (
	StallTimeout = 30 * time.Second
	silence      = StallTimeout + 3*time.Second
	zeroWindow   = 1500 * time.Millisecond
)

var behaviours = []behaviour{
	{name: "fast"},
	{name: "16 KiB/s", downloads: 16, parallel: 16,
		options: client.Options{ReceiveBuffer: 8 << 10, ReadSize: 4 << 10, Pause: 250 * time.Millisecond}},
	{name: "tiny buffer",
		options: client.Options{ReceiveBuffer: 4 << 10, ReadSize: 4 << 10, Pause: 4 * time.Millisecond}},
	{name: "zero window", downloads: 48, parallel: 24,
		options: client.Options{ReceiveBuffer: 4 << 10, Hold: zeroWindow}},
	// The clients' buffers are small: the clients are on the board, so their buffers use the
	// memory that it has for TCP (net.ipv4.tcp_mem), which is otherwise the daemon's.
	{name: atOnce, downloads: 128, parallel: 64, options: client.Options{ReceiveBuffer: 64 << 10}},
	{name: kept, downloads: 160, parallel: 4, options: client.Options{KeepAlive: true}},
	{name: oneGo, downloads: 160, parallel: 4, options: client.Options{Pipeline: 8}},
	{name: "range"},
	{name: ranges},
	{name: "unread input",
		options: client.Options{ReceiveBuffer: 4 << 10, ReadSize: 4 << 10, Pause: 4 * time.Millisecond, Extra: 24 << 10}},
	{name: "half-close", options: client.Options{Then: client.HalfClose}},
	{name: "close_notify", options: client.Options{Then: client.CloseNotify}},
	{name: keys, options: client.Options{Then: client.KeyUpdate}},
	{name: askKeys, options: client.Options{Then: client.KeyUpdateRequest}},
	{name: hangsUp, options: client.Options{Leave: client.LeaveByReset}},
	{name: alerts, options: client.Options{Leave: client.LeaveByAlert}},
	{name: silent, downloads: 16, parallel: 16,
		options: client.Options{ReceiveBuffer: 4 << 10, Hold: silence, Silent: true}},
}

// The default values.
const (
	usualDownloads = 96
	usualParallel  = 12
	fewest         = 8       // downloads of a large file
	cellBytes      = 6 << 20 // approximate limit of a cell's downloads, beyond the fewest
)

// A File is the file that a cell downloads.
type File struct {
	Path    string // below the served directory
	Content pattern.Content
}

// Plan returns the options of a cell's client, without the server's address and certificate, and
// the file to download. effort divides the number of downloads.
func (c Cell) Plan(effort int) (File, client.Options) {
	p, b := c.place(), c.behaviour()
	o := b.options
	o.TLS12, o.Suite = c.TLS == tls12, suites[c.Cipher]
	o.Timeout = 3 * time.Minute
	h := fnv.New64a()
	fmt.Fprint(h, c)
	o.Seed = h.Sum64()

	f := c.file(p, &o)
	o.Path, o.Content = f.Path, &f.Content
	o.Parallel = or(b.parallel, usualParallel)
	o.Downloads = or(b.downloads, usualDownloads) / effort
	if p.size > 0 {
		o.Downloads = min(o.Downloads, max(fewest, int(cellBytes/p.size)/effort))
	}
	o.Downloads = max(o.Downloads, fewest)
	switch c.Client {
	case atOnce:
		o.Downloads = max(o.Downloads, o.Parallel)
	case oneGo:
		if o.Downloads < o.Pipeline*o.Parallel {
			o.Parallel = 1
		}
		o.Downloads -= o.Downloads % o.Pipeline
	}
	return f, o
}

// file chooses the file and its ranges. A range leaves a byte out at each side, so that it has
// the place's length, but not its alignment.
func (c Cell) file(p place, o *client.Options) File {
	name := strings.NewReplacer(" ", "", "+", "p", "-", "m").Replace(p.name)
	f := File{Path: "/" + name + ".bin", Content: pattern.Content{Seed: 0x3a7 + uint64(p.size), Size: p.size}}
	several := c.Client == ranges
	switch {
	case p.offset > 0:
		f.Content = pattern.Content{Seed: 0x3a8, Size: p.offset + 1<<20, Hole: p.offset - 1<<20}
		o.Offset, o.Length = p.offset, p.size
	case several || c.Client == "range":
		f.Path = "/ranges-" + name + ".bin"
		f.Content.Size = 2*p.size + 3
		o.Offset, o.Length = 1, p.size
	}
	if several {
		o.Also = []client.Range{{Offset: o.Offset + p.size + 1, Length: p.size}}
	}
	return f
}

func (c Cell) place() place {
	for _, p := range places {
		if p.name == c.Place {
			return p
		}
	}
	panic("matrix: no place " + c.Place)
}

func (c Cell) behaviour() behaviour {
	for _, b := range behaviours {
		if b.name == c.Client {
			return b
		}
	}
	panic("matrix: no client " + c.Client)
}

func or(n, usual int) int {
	if n == 0 {
		return usual
	}
	return n
}
