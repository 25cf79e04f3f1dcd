package cryptoapi

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// An Algorithm is an entry of /proc/crypto (crypto/proc.c): one implementation of an algorithm.
type Algorithm struct {
	Name     string `json:"name"`     // the algorithm, gcm(aes)
	Driver   string `json:"driver"`   // its implementation, gcm-aes-caam
	Module   string `json:"module"`   // the driver's module; "kernel" if built in
	Type     string `json:"type"`     // aead, skcipher, larval, ...
	Priority int    `json:"priority"` // the kernel selects the highest of a name
	Async    bool   `json:"async"`    // CRYPTO_ALG_ASYNC: the result may come later, as from an engine beside the CPU (see Waits)
	SelfTest string `json:"selftest"` // "passed"; "unknown" while the kernel's self-test runs or after it failed
	Internal bool   `json:"internal"` // a part of other algorithms, never selected on its own
	Hardware bool   `json:"hardware"` // an engine beside the processor computes it or a part of it; set by MarkHardware

	// Inline reports that an asynchronous driver computes in its caller nevertheless, with the
	// processor's vector registers, wherever those can be used: in every system call.
	Inline bool `json:"inline"`

	// Deferred reports that the processor computes an asynchronous driver that is not inline,
	// in other threads of the kernel: cryptd or pcrypt.
	Deferred bool `json:"deferred"`
}

// Selectable reports whether the kernel may select a when it looks up a's name
// (crypto_alg_lookup in crypto/api.c).
func (a *Algorithm) Selectable() bool {
	return a.SelfTest == "passed" && !a.Internal && (a.Type == "aead" || a.Type == "skcipher")
}

// Read reads /proc/crypto. If the kernel has no such file, or hides it from the
// process (ProcSubset=pid), the list is empty and the error nil. Hardware is not set.
func Read() ([]Algorithm, error) {
	f, err := os.Open("/proc/crypto")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cryptoapi: %w", err)
	}
	defer f.Close()
	return Parse(f)
}

// MayWait reports whether setting up kernel TLS may wait for a crypto engine: a driver that
// it may use, in whole or in part, is asynchronous, or the list of drivers cannot be read.
func MayWait() bool {
	all, err := Read()
	return err != nil || len(all) == 0 || mayWait(all)
}

func mayWait(all []Algorithm) bool {
	return slices.ContainsFunc(all, func(a Algorithm) bool {
		// cryptd(__D), which is internal, exists only for a driver D that computes inline.
		return a.Waits() && !a.Internal && (strings.Contains(a.Name, "aes") || strings.Contains(a.Name, "chacha20"))
	})
}

// Bounds of the input of Parse, far above the list of any real kernel (a board
// with CAAM lists some two hundred algorithms in 50 KiB).
const (
	maxCryptoBytes = 1 << 20
	maxCryptoLine  = 1024
)

// ErrTooLarge is the error of Parse for input larger than any kernel writes.
var ErrTooLarge = errors.New("too large to be the kernel's list")

// Parse reads a list in the format of /proc/crypto: entries of
// "key : value" lines, separated by blank lines. It keeps the kernel's order, which
// breaks ties of priority. It ignores unknown keys and malformed lines: lines without a
// colon, with bytes other than printable ASCII, of more than 1024 bytes, or with a
// priority that is not a number. The list only refines a choice, and a later kernel may
// write more. An error is an error of r, or wraps [ErrTooLarge] for more than 1 MiB.
//
// The kernel writes the file in pieces: an algorithm that is registered or unregistered
// meanwhile may make an entry be missing or appear twice.
func Parse(r io.Reader) ([]Algorithm, error) {
	limited := &io.LimitedReader{R: r, N: maxCryptoBytes + 1}
	lines := bufio.NewReaderSize(limited, maxCryptoLine)

	var all []Algorithm
	var cur Algorithm
	flush := func() {
		if cur.Name != "" {
			all = append(all, cur)
		}
		cur = Algorithm{}
	}
	for overlong := false; ; {
		piece, err := lines.ReadSlice('\n')
		switch {
		case limited.N <= 0:
			return nil, fmt.Errorf("cryptoapi: list of algorithms: %w", ErrTooLarge)
		case err == bufio.ErrBufferFull: // the line continues in the next piece
			overlong = true
			continue
		case err != nil && err != io.EOF:
			return nil, fmt.Errorf("cryptoapi: list of algorithms: %w", err)
		}
		switch line := strings.TrimRight(string(piece), "\n"); {
		case overlong: // piece is the end of the line
		case strings.TrimSpace(line) == "":
			flush()
		default:
			cur.set(line)
		}
		overlong = false
		if err == io.EOF {
			flush()
			markInline(all)
			return all, nil
		}
	}
}

// set parses a line of an entry, or ignores it.
func (a *Algorithm) set(line string) {
	for _, c := range []byte(line) {
		if (c < ' ' && c != '\t') || c > '~' {
			return
		}
	}
	key, value, found := strings.Cut(line, ":")
	if !found {
		return
	}
	value = strings.TrimSpace(value)
	switch strings.TrimSpace(key) {
	case "name":
		a.Name = value
	case "driver":
		a.Driver = value
	case "module":
		a.Module = value
	case "type":
		a.Type = value
	case "selftest":
		a.SelfTest = value
	case "async":
		a.Async = value == "yes"
	case "internal":
		a.Internal = value == "yes"
	case "priority":
		if n, err := strconv.ParseInt(value, 10, 32); err == nil {
			a.Priority = int(n)
		}
	}
}

// Implementations returns the entries for an algorithm name. The drivers that the kernel may select
// come first, by descending priority, so the first entry is the selected driver if it is
// Selectable. Of equal priority the kernel selects the driver that is first in all, so the sort is
// stable.
func Implementations(all []Algorithm, name string) []Algorithm {
	var found []Algorithm
	for _, a := range all {
		if a.Name == name && a.Type != "larval" {
			found = append(found, a)
		}
	}
	slices.SortStableFunc(found, func(a, b Algorithm) int {
		if a.Selectable() != b.Selectable() {
			if a.Selectable() {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Priority, a.Priority)
	})
	return found
}
