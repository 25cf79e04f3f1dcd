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
	// DefaultPath is the configuration file that is read by default.
	DefaultPath = "/etc/uringhttpd/uringhttpd.yaml"

	// CredentialPrefix starts a TLS path that names a systemd credential: the
	// file NAME in the directory $CREDENTIALS_DIRECTORY.
	CredentialPrefix = "credential:"

	// SocketPrefix starts an address that names a socket passed by systemd.
	SocketPrefix = "systemd:"

	maxFileBytes = 64 << 10
)

// Config is a checked configuration. It is read-only after Parse and may be
// used by several goroutines.
type Config struct {
	File    string   // as given to Load or Parse
	Listen  []Listen // at least one
	Root    string   // absolute path of the directory to serve
	TLS     TLS
	Crypto  Crypto
	Limits  Limits
	Index   Index
	Log     Log
	Metrics Metrics

	// Warnings are about values that are allowed, but probably not intended.
	Warnings Problems

	lines map[string]int // line numbers of the keys that are present, by key as in Problem
}

// Listen is one address to accept connections on.
type Listen struct {
	Address string // host:port, [v6]:port (port 0: any free one) or systemd:NAME
	TLS     bool   // false: plain HTTP
	Public  bool   // plain HTTP without client certificates is intended, although TLS.ClientCA is set
}

// TLS configures HTTPS. Certificate and Key are set if any listener has
// TLS. Each path is absolute, or "credential:NAME".
type TLS struct {
	Certificate    string
	Key            string
	ClientCA       string // "": clients need no certificate
	Kernel         KernelTLS
	Cipher         Cipher
	MinimumVersion uint16 // as in crypto/tls: 0x0303 is TLS 1.2, 0x0304 TLS 1.3; with KernelRequire always TLS 1.3
}

// KernelTLS selects whether the kernel or user space encrypts.
type KernelTLS string

// The values of KernelTLS.
const (
	KernelAuto    KernelTLS = "auto"    // the kernel where it can, else user space
	KernelRequire KernelTLS = "require" // the kernel, or refuse to serve
	KernelOff     KernelTLS = "off"     // user space
)

// Cipher is the cipher that is offered to clients first. A client that supports only the other
// cipher is served with that.
type Cipher string

// The values of Cipher.
const (
	CipherAuto     Cipher = "auto" // the best cipher on this machine
	CipherAESGCM   Cipher = "aes-gcm"
	CipherChaCha20 Cipher = "chacha20" // ChaCha20-Poly1305
)

// Prefer selects the kernel's driver for gcm(aes), for the whole system.
type Prefer string

// The values of Prefer.
const (
	PreferKeep     Prefer = "keep"     // do not change the kernel's selection
	PreferHardware Prefer = "hardware" // a crypto engine
	PreferCPU      Prefer = "cpu"      // the processor
	PreferAuto     Prefer = "auto"     // the faster driver by measurement
)

// Crypto configures the kernel's crypto drivers.
type Crypto struct {
	Prefer Prefer
	// KernelFixes are CVEs, among KnownFixes, that are fixed in this kernel although its
	// version is affected.
	KernelFixes []string
}

// Limits bounds the resources that clients can use.
type Limits struct {
	Connections   int           // open at the same time, 1 to 1000000
	HeaderTimeout time.Duration // for a handshake and for a whole request head, 1 ms to 24 h like the other timeouts
	IdleTimeout   time.Duration // between two requests of a connection
	StallTimeout  time.Duration // without a byte acknowledged by the client
	Buffer        int64         // bytes that the kernel may hold for a connection, 256 KiB to 1 GiB
	Cache         int64         // bytes of memory for prepared answers; 0: none; CacheAuto: by the machine's memory
	Rate          int64         // bytes per second and connection; 0: unlimited
}

// CacheAuto is the value of Limits.Cache for "auto".
const CacheAuto = -1

// Index selects the response for a directory without an index.html.
type Index string

// The values of Index.
const (
	IndexOff  Index = "off"  // 404
	IndexHTML Index = "html" // a listing: HTML, or JSON for Accept: application/json
)

// Log configures the log on standard error.
type Log struct {
	Level  slog.Level
	Access bool // log a line for each request
}

// Metrics configures the metrics listener.
type Metrics struct {
	Address string // host:port; "": no metrics
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

	// One byte more than allowed lets Parse detect a file that is too large.
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, &FileError{err, "name a readable YAML file with -config"}
	}
	return Parse(data, path)
}

// FileError is the error for a configuration file that cannot be read.
type FileError struct {
	Err   error  // the operating system's error
	Right string // the corrective action
}

// Error returns the error and the corrective action on one line.
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

// Parse checks data, the content of the file named file. Problems contain that name, and
// relative paths are resolved against its directory; Parse does not read the file itself. An
// error in the content is of type Problems and holds all problems.
func Parse(data []byte, file string) (*Config, error) {
	absolute, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("config: %w; name the file by its absolute path", err)
	}
	r := &reader{
		dir:  filepath.Dir(absolute),
		last: countLines(data),
		cfg:  defaults(file),
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

// defaults returns a Config with the default of every key.
func defaults(file string) *Config {
	return &Config{
		File:   file,
		TLS:    TLS{Kernel: KernelAuto, Cipher: CipherAuto, MinimumVersion: versionTLS12},
		Crypto: Crypto{Prefer: PreferKeep},
		Limits: Limits{
			Connections:   1024,
			HeaderTimeout: 10 * time.Second,
			IdleTimeout:   60 * time.Second,
			Cache:         CacheAuto,
			StallTimeout:  60 * time.Second,
			Buffer:        2 << 20,
		},
		Index: IndexHTML,
		Log:   Log{Level: slog.LevelInfo, Access: true},
		lines: make(map[string]int),
	}
}

// Problem returns a Problem with the value of key that a caller found later, such as a
// certificate that cannot be opened. key has the form "tls.certificate" or
// "listen[0].address". The line is that of the key or, if the key is not in the file, of its
// nearest parent that is.
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
