package config

import (
	_ "embed" // for Example
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// DefaultPath is the configuration file that is read unless another is named.
	DefaultPath = "/etc/uringhttpd/uringhttpd.yaml"

	// CredentialPrefix starts the TLS paths that name a systemd credential: the
	// file NAME in the folder $CREDENTIALS_DIRECTORY.
	CredentialPrefix = "credential:"

	// SocketPrefix starts the addresses that name a socket passed by systemd.
	SocketPrefix = "systemd:"

	maxFileBytes = 64 << 10
)

// Config is a checked configuration. It is read-only after Parse and may be
// used by several goroutines.
type Config struct {
	File    string   // as given to Load or Parse
	Listen  []Listen // at least one
	Root    string   // absolute path of the folder to serve
	TLS     TLS
	Crypto  Crypto
	Limits  Limits
	Index   Index
	Log     Log
	Metrics Metrics

	// Warnings are about values that are allowed, but probably not meant.
	Warnings Problems

	lines map[string]int // key as in Problem to its line, for keys present
}

// Listen is one address to accept connections on.
type Listen struct {
	Address string // host:port, [v6]:port (port 0: any free one) or systemd:NAME
	TLS     bool   // false: plain HTTP
	Public  bool   // plain HTTP for anybody is meant, although TLS.ClientCA is set
}

// TLS says how HTTPS is spoken. Certificate and Key are set if any listener has
// TLS. Each path is absolute, or "credential:NAME".
type TLS struct {
	Certificate    string
	Key            string
	ClientCA       string // "": clients need no certificate
	Kernel         KernelTLS
	Cipher         Cipher
	MinimumVersion uint16 // as in crypto/tls: 0x0303 is TLS 1.2, 0x0304 TLS 1.3, which it is with KernelRequire
}

// KernelTLS says who encrypts.
type KernelTLS string

// The values of KernelTLS.
const (
	KernelAuto    KernelTLS = "auto"    // the kernel where it can, else user space
	KernelRequire KernelTLS = "require" // the kernel, or refuse to serve
	KernelOff     KernelTLS = "off"     // user space
)

// Cipher is what clients are offered first; who knows only the other is served
// with that.
type Cipher string

// The values of Cipher.
const (
	CipherAuto     Cipher = "auto" // what is best on this machine
	CipherAESGCM   Cipher = "aes-gcm"
	CipherChaCha20 Cipher = "chacha20" // ChaCha20-Poly1305
)

// Prefer says which of the kernel's drivers is to do gcm(aes), for the whole system.
type Prefer string

// The values of Prefer.
const (
	PreferKeep     Prefer = "keep"     // the choice stays the kernel's
	PreferHardware Prefer = "hardware" // an engine beside the processor
	PreferCPU      Prefer = "cpu"      // the processor
	PreferAuto     Prefer = "auto"     // what was measured to be faster
)

// Crypto is about the kernel's crypto drivers.
type Crypto struct {
	Prefer Prefer
	// KernelFixes are CVEs, of those in knownFixes, that this kernel does not have though its
	// version says that it does.
	KernelFixes []string
}

// Limits bounds what clients can cost.
type Limits struct {
	Connections   int           // open at the same time, 1 to 1000000
	HeaderTimeout time.Duration // for the whole request head, 1ms to 24h like the others
	IdleTimeout   time.Duration // between two requests of a connection
	StallTimeout  time.Duration // without a byte acknowledged by the client
	Buffer        int64         // bytes that the kernel may hold for a connection, 256 KiB to 1 GiB
	Rate          int64         // bytes a second and connection; 0: unlimited
}

// Index says what a folder without an index.html answers.
type Index string

// The values of Index.
const (
	IndexOff  Index = "off"  // 404
	IndexHTML Index = "html" // a listing: HTML, or JSON for Accept: application/json
)

// Log says what is written to standard error.
type Log struct {
	Level  slog.Level
	Access bool // a line for each request
}

// Metrics says where metrics are served.
type Metrics struct {
	Address string // host:port; "": nowhere
}

//go:embed uringhttpd.yaml
var example string

// Example returns the documented configuration file that a package installs as
// DefaultPath. It shows every key, and its values are the defaults.
func Example() []byte { return []byte(example) }

// Load reads and checks the file at path. An error in its content is of type
// Problems; any other is a *FileError.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &FileError{err, "run this as root or as the service's user (sudo -u uringhttpd), or name another file with -config"}
	case err != nil:
		return nil, &FileError{err, "write that file, or name another with -config"}
	}
	defer f.Close()

	// One byte more than allowed lets Parse see that it is too much.
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, &FileError{err, "name a readable YAML file with -config"}
	}
	return Parse(data, path)
}

// FileError says that the configuration file cannot be read.
type FileError struct {
	Err   error  // the operating system's error
	Right string // what to do
}

func (e *FileError) Error() string { return "config: " + e.Err.Error() + "; " + e.Right }

// Unwrap returns the operating system's error.
func (e *FileError) Unwrap() error { return e.Err }

// Temporary reports whether the file may become readable without a change by a person:
// its file system is not mounted yet, or the disk, memory or descriptors fail.
func (e *FileError) Temporary() bool {
	for _, permanent := range []error{fs.ErrPermission, fs.ErrInvalid, syscall.EISDIR, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG} {
		if errors.Is(e.Err, permanent) {
			return false
		}
	}
	return true
}

// Parse checks data, the content of the file named file. That name appears in
// problems, and relative paths count from its folder; the file itself is not
// read. An error in the content is of type Problems and holds all there are.
func Parse(data []byte, file string) (*Config, error) {
	absolute, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("config: %w; name the file by its absolute path", err)
	}
	r := &reader{
		folder: filepath.Dir(absolute),
		last:   countLines(data),
		cfg:    defaults(file),
	}
	if top := r.document(data); top != nil {
		r.configuration(top)
	}
	if len(r.problems) > 0 {
		r.problems.Sort()
		return nil, r.problems
	}
	r.cfg.Warnings.Sort()
	return r.cfg, nil
}

// defaults returns what holds for every key that is not present.
func defaults(file string) *Config {
	return &Config{
		File:   file,
		TLS:    TLS{Kernel: KernelAuto, Cipher: CipherAuto, MinimumVersion: versionTLS12},
		Crypto: Crypto{Prefer: PreferKeep},
		Limits: Limits{
			Connections:   1024,
			HeaderTimeout: 10 * time.Second,
			IdleTimeout:   60 * time.Second,
			StallTimeout:  60 * time.Second,
			Buffer:        2 << 20,
		},
		Index: IndexHTML,
		Log:   Log{Level: slog.LevelInfo, Access: true},
		lines: make(map[string]int),
	}
}

// Problem describes something wrong with the value of key that a caller found
// later, such as a certificate that cannot be opened. key is written like
// "tls.certificate" or "listen[0].address". The line is that of the key or, if
// it is not in the file, of the nearest parent that is.
func (c *Config) Problem(key, wrong, right string) Problem {
	return Problem{File: c.File, Line: c.line(key), Key: key, Wrong: wrong, Right: right}
}

func (c *Config) line(key string) int {
	for {
		if line, ok := c.lines[key]; ok {
			return line
		}
		if key == "" {
			return 1
		}
		key = parent(key)
	}
}
