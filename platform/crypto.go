package platform

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Algorithm is one entry of /proc/crypto (crypto/proc.c).
type Algorithm struct {
	Name     string `json:"name"`     // what it computes, gcm(aes)
	Driver   string `json:"driver"`   // who computes it, gcm-aes-caam
	Module   string `json:"module"`   // the module it comes from; "kernel" if built in
	Type     string `json:"type"`     // aead, skcipher, larval, ...
	Priority int    `json:"priority"` // the highest of a name is picked
	Async    bool   `json:"async"`    // the kernel's mark: the result may come later, as from an engine beside the CPU (see Waits)
	SelfTest string `json:"selftest"` // "passed", or "unknown" while the kernel's own test runs, or if it failed
	Internal bool   `json:"internal"` // a part of other algorithms, never picked on its own
	Hardware bool   `json:"hardware"` // an engine beside the processor computes it or a part of it, as far as [Report.Netlink] tells

	// Inline tells of an asynchronous one that it computes in its caller all the same,
	// with the processor's vector registers, where those can be used: in every system call.
	Inline bool `json:"inline"`

	// Deferred tells of an asynchronous one that is not inline that the processor computes it
	// all the same, in other threads of the kernel: cryptd or pcrypt.
	Deferred bool `json:"deferred"`
}

// eligible tells whether the kernel may pick a when it looks for a's name
// (crypto_alg_lookup in crypto/api.c).
func (a *Algorithm) eligible() bool {
	return a.SelfTest == "passed" && !a.Internal && (a.Type == "aead" || a.Type == "skcipher")
}

// Bounds of what ParseCrypto reads: far above any real kernel's (a board with
// CAAM lists some two hundred algorithms in 50 KiB).
const (
	maxCryptoBytes = 1 << 20
	maxCryptoLine  = 1024
)

// ErrTooLarge is the error of ParseCrypto for input that no kernel writes.
var ErrTooLarge = errors.New("too large to be the kernel's list")

// ParseCrypto reads a list in the format of /proc/crypto: entries of
// "key : value" lines, separated by blank lines. It keeps the order, which is the
// kernel's own and settles ties of priority. Lines that it does not understand are
// ignored, as unknown keys are: without a colon, with bytes other than printable ASCII,
// of more than 1024 bytes, or with a priority that is no number. The list only refines
// a choice, and a later kernel may write more. An error is one of r, or wraps
// [ErrTooLarge] for more than 1 MiB.
//
// The kernel writes the file in pieces: an algorithm that comes or goes
// meanwhile may be missing or twice in it.
func ParseCrypto(r io.Reader) ([]Algorithm, error) {
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
			return nil, fmt.Errorf("platform: list of algorithms: %w", ErrTooLarge)
		case err == bufio.ErrBufferFull: // the line goes on, in the next piece
			overlong = true
			continue
		case err != nil && err != io.EOF:
			return nil, fmt.Errorf("platform: list of algorithms: %w", err)
		}
		switch line := strings.TrimRight(string(piece), "\n"); {
		case overlong: // piece is its end
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

// set takes one line of an entry, or ignores it.
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

// Names of the crypto API.
const (
	gcmAES           = "gcm(aes)"
	ctrAES           = "ctr(aes)"
	chaCha20Poly1305 = "rfc7539(chacha20,poly1305)"
)

// named returns the entries for name, in the order that [Report] promises. The
// sort is stable because the kernel takes the first of equals.
func named(all []Algorithm, name string) []Algorithm {
	var found []Algorithm
	for _, a := range all {
		if a.Name == name && a.Type != "larval" {
			found = append(found, a)
		}
	}
	slices.SortStableFunc(found, func(a, b Algorithm) int {
		if a.eligible() != b.eligible() {
			if a.eligible() {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Priority, a.Priority)
	})
	return found
}
