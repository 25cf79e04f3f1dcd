package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing wrong with a configuration, or, as a warning, one that is
// probably not meant.
type Problem struct {
	File  string // as given to Load or Parse
	Line  int    // from 1
	Key   string // "tls.key", "listen[0].address"; "yaml" for syntax, "file" for the file as a whole
	Wrong string // what is wrong
	Right string // what would be right
	// Temporary says that nobody has to change the configuration: a file that is
	// not there yet, an address that another program still has.
	Temporary bool
}

// String returns "FILE:LINE: key: what is wrong; what would be right", one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s: %s; %s", p.File, p.Line, p.Key, p.Wrong, p.Right)
}

// Error returns the same as String.
func (p Problem) Error() string { return p.String() }

// Problems is all that is wrong with a configuration, sorted by line.
type Problems []Problem

// Error returns one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Temporary reports whether all of them are.
func (ps Problems) Temporary() bool {
	return !slices.ContainsFunc(ps, func(p Problem) bool { return !p.Temporary })
}

// Sort sorts by line and keeps the order within a line.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
}

// parent returns the key that key stands under: of "listen[0].address" it is
// "listen[0]", of that "listen", and of that "".
func parent(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

// child returns the key name under parent. A name that is no plain word is
// quoted, so that a problem stays on one line.
func child(parent, name string) string {
	if !isWord(name) {
		name = quote(name)
	}
	if parent == "" {
		return name
	}
	return parent + "." + name
}

func isWord(s string) bool {
	for _, c := range s {
		if !(c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= maxQuoted
}

// maxQuoted bounds, in bytes, how much of a value a problem repeats.
const maxQuoted = 60

// quote returns s in quotes, on one line, its end left out if it is long.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(strings.ToValidUTF8(s[:maxQuoted], "")) + "..."
	}
	return strconv.Quote(s)
}
