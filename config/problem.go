package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is an error in a configuration or, as a warning, a value that is probably not
// intended.
type Problem struct {
	File  string // as given to Load or Parse
	Line  int    // from 1
	Key   string // "tls.key", "listen[0].address"; "yaml" for syntax, "file" for the file as a whole
	Wrong string // the error
	Right string // the correction
	// Temporary is true if the problem may disappear without a change of the configuration: a
	// file that does not exist yet, an address that another program still uses.
	Temporary bool
}

// String returns "FILE:LINE: key: error; correction" on one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s: %s; %s", p.File, p.Line, p.Key, p.Wrong, p.Right)
}

// Error returns the same as String.
func (p Problem) Error() string { return p.String() }

// Problems is a list of all problems of a configuration, sorted by line.
type Problems []Problem

// Error returns the problems, one on each line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Temporary reports whether all problems are temporary.
func (ps Problems) Temporary() bool {
	return !slices.ContainsFunc(ps, func(p Problem) bool { return !p.Temporary })
}

// Sort sorts the problems by line and keeps the order within a line.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
}

// parent returns the key that contains key: "listen[0]" for "listen[0].address", "listen" for
// "listen[0]", and "" for "listen".
func parent(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

// child returns the key name under parent. A name that is not a plain word is
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

// maxQuoted is the largest part of a value that a problem quotes, in bytes.
const maxQuoted = 60

// quote returns s in quotes, on one line, truncated to maxQuoted.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(strings.ToValidUTF8(s[:maxQuoted], "")) + "..."
	}
	return strconv.Quote(s)
}
