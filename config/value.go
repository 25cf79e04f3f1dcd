package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"gopkg.in/yaml.v3"
)

// mapping reads the keys of e, each according to its field, and reports whether e is a
// mapping.
func (r *reader) mapping(e entry, fields []field) bool {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if !r.kind(e, yaml.MappingNode, "keys", "write keys under it: "+strings.Join(names, ", ")) {
		return false
	}
	if e.key == "" {
		r.cfg.lines[""] = e.line
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(e.node.Content); i += 2 {
		name, value := e.node.Content[i], e.node.Content[i+1]
		at := entry{child(e.key, name.Value), name.Line, value}
		if name.Kind != yaml.ScalarNode {
			at.key = e.key
			r.wrong(at, "a key that is not a plain word", "write one of these: "+strings.Join(names, ", "))
			continue
		}
		if !r.simple(at, name) {
			continue
		}
		if line, ok := seen[name.Value]; ok {
			r.wrong(at, fmt.Sprintf("is already set in line %d", line), "remove one of them")
			continue
		}
		seen[name.Value] = name.Line
		r.field(at, name.Value, fields, names)
	}
	return true
}

func (r *reader) field(e entry, name string, fields []field, names []string) {
	for _, f := range fields {
		if f.name == name {
			r.cfg.lines[e.key] = e.line
			if f.read == nil {
				r.mapping(e, f.under)
			} else {
				f.read(e)
			}
			return
		}
	}
	r.wrong(e, "unknown key", r.suggest(name, names))
}

// kind reports whether the value of e is of the kind want, called name.
func (r *reader) kind(e entry, want yaml.Kind, name, right string) bool {
	if !r.simple(e, e.node) {
		return false
	}
	if e.node.Kind != want {
		r.unlike(e, name, right)
		return false
	}
	return true
}

// simple reports whether n has no alias, anchor, tag or merge key. These are rejected because
// they make a value differ from its text.
func (r *reader) simple(e entry, n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		r.wrong(e, "is an alias (*)", "write the value itself; text that starts with * needs quotes")
	case n.Anchor != "":
		r.wrong(e, "has an anchor (&)", "remove it; text that starts with & needs quotes")
	case n.Style&yaml.TaggedStyle != 0:
		r.wrong(e, "has a tag (!)", "remove it; text that starts with ! needs quotes")
	case n.Kind == yaml.ScalarNode && n.Tag == "!!merge":
		r.wrong(e, "is a merge key", "write the keys themselves")
	default:
		return true
	}
	return false
}

// unlike reports a problem: the value of e is not of the type that want names.
func (r *reader) unlike(e entry, want, right string) {
	if isNull(e.node) {
		r.wrong(e, "is empty", right)
		return
	}
	r.wrong(e, "is "+describe(e.node)+", not "+want, right)
}

// text returns the value of e, or reports a problem if it is not a string.
func (r *reader) text(e entry, right string) (string, bool) {
	if !r.kind(e, yaml.ScalarNode, "text", right) {
		return "", false
	}
	if e.node.Tag != "!!str" {
		r.unlike(e, "text", right)
		return "", false
	}
	return e.node.Value, true
}

type option[T any] struct {
	word  string
	value T
}

// choose sets to to the value of the option that e selects.
func choose[T any](r *reader, e entry, to *T, options []option[T]) {
	right := "write "
	for i, o := range options {
		switch {
		case i > 0 && i == len(options)-1:
			right += " or "
		case i > 0:
			right += ", "
		}
		if '0' <= o.word[0] && o.word[0] <= '9' {
			right += strconv.Quote(o.word) // without quotes YAML reads a number
		} else {
			right += o.word
		}
	}
	text, ok := r.text(e, right)
	if !ok {
		return
	}
	for _, o := range options {
		if o.word == text {
			*to = o.value
			return
		}
	}
	words := make([]string, len(options))
	for i, o := range options {
		words[i] = o.word
	}
	meant := cmp.Or(nearest(text, words), wordSynonyms()[strings.ToLower(text)])
	if slices.Contains(words, meant) {
		right = fmt.Sprintf("did you mean %s? %s%s", meant, strings.ToUpper(right[:1]), right[1:])
	}
	r.wrong(e, quote(text)+" is not a valid value", right)
}

func (r *reader) boolean(e entry, to *bool) {
	const right = "write true or false"
	if !r.kind(e, yaml.ScalarNode, "a boolean", right) {
		return
	}
	n := e.node
	if n.Tag == "!!bool" {
		*to = strings.EqualFold(n.Value, "true")
		return
	}
	if n.Tag != "!!str" {
		r.unlike(e, "a boolean", right)
		return
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on", "y":
		r.wrong(e, "is the text "+quote(n.Value)+", not a boolean", "write true, without quotes")
	case "false", "no", "off", "n":
		r.wrong(e, "is the text "+quote(n.Value)+", not a boolean", "write false, without quotes")
	default:
		r.wrong(e, "is the text "+quote(n.Value)+", not a boolean", right)
	}
}

func (r *reader) count(e entry, to *int, low, high int) {
	right := fmt.Sprintf("write a number from %d to %d", low, high)
	if !r.kind(e, yaml.ScalarNode, "a number", right) {
		return
	}
	n, text := e.node, e.node.Value
	number, plain := decimal(text)
	switch {
	case n.Tag == "!!str" && plain:
		r.wrong(e, "is the text "+quote(text)+", not a number", "write "+text+" without quotes")
	case !isNumber(n):
		r.unlike(e, "a number", right)
	case !plain:
		r.wrong(e, quote(text)+" is not a plain decimal number", right+", digits only, no leading zero")
	case number < int64(low) || number > int64(high):
		r.wrong(e, bare(text)+" is out of range", right)
	default:
		*to = int(number)
	}
}

func (r *reader) duration(e entry, to *time.Duration) {
	const low, high = time.Millisecond, 24 * time.Hour
	const right = "write a time from 1ms to 24h, such as 500ms, 60s, 5m or 1h30m"
	if !r.kind(e, yaml.ScalarNode, "a time", right) {
		return
	}
	n := e.node
	if isNumber(n) {
		wrong := bare(n.Value) + " has no unit"
		if seconds, ok := decimal(n.Value); ok && seconds > 0 && seconds <= int64(high/time.Second) {
			r.wrong(e, wrong, fmt.Sprintf("write %ds for seconds", seconds))
			return
		}
		r.wrong(e, wrong, right)
		return
	}
	if n.Tag != "!!str" {
		r.unlike(e, "a time", right)
		return
	}
	d, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		r.wrong(e, quote(n.Value)+" is not a time", right)
	case d < low || d > high:
		r.wrong(e, bare(n.Value)+" is out of range", right)
	default:
		*to = d
	}
}

// size reads a number of bytes from low to high. bounds describes that range in problems.
func (r *reader) size(e entry, to *int64, low, high int64, bounds string) {
	right := "write a size " + bounds + ": bytes, such as 65536, or a whole number of KiB, MiB or GiB, such as 512KiB"
	if !r.kind(e, yaml.ScalarNode, "a size", right) {
		return
	}
	n := e.node
	if n.Tag != "!!str" && !isNumber(n) {
		r.unlike(e, "a size", right)
		return
	}
	digits, unit := n.Value, int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB"} {
		if before, ok := strings.CutSuffix(n.Value, suffix); ok {
			digits, unit = before, 1<<(10*(i+1))
		}
	}
	number, plain := decimal(digits)
	switch {
	case !plain:
		r.wrong(e, quote(n.Value)+" is not a size", right)
	case number > high/unit || number*unit < low:
		r.wrong(e, bare(n.Value)+" is out of range", right)
	default:
		*to = number * unit
	}
}

type pathKind int

const (
	pathDirectory  pathKind = iota // a directory; must not be empty
	pathCredential                 // a file, or credential:NAME, or ""
)

// path reads the path of a file or directory and makes it absolute.
func (r *reader) path(e entry, to *string, kind pathKind) {
	right := "write the path of a directory, such as /srv/firmware"
	if kind == pathCredential {
		right = "write the path of a PEM file, or credential:NAME"
	}
	text, ok := r.text(e, right)
	if !ok {
		return
	}
	name, isCredential := strings.CutPrefix(text, CredentialPrefix)
	switch {
	case text == "" && kind == pathDirectory:
		r.wrong(e, "is empty", right)
	case text == "":
		*to = ""
	case isCredential && kind == pathDirectory:
		r.wrong(e, "a credential is a file, not a directory", right)
	case isCredential && (!isDescriptorName(name) || strings.Contains(name, "/") || name == "." || name == ".."):
		r.wrong(e, quote(name)+" is not a valid credential name", "write credential: and the ID given to LoadCredential=, such as credential:key.pem")
	case isCredential:
		*to = text
	case strings.ContainsFunc(text, unicode.IsControl):
		r.wrong(e, "has a control character", right)
	case filepath.IsAbs(text):
		*to = filepath.Clean(text)
	default:
		*to = filepath.Join(r.dir, text)
	}
}

// describe returns a noun phrase for the value of n, for use in a problem.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind != yaml.ScalarNode:
		return "an alias"
	case isNull(n):
		return "empty"
	case isNumber(n):
		return "the number " + bare(n.Value)
	case n.Tag == "!!bool":
		return "the boolean " + bare(n.Value)
	case n.Tag == "!!timestamp":
		return "the date " + bare(n.Value)
	default:
		return "the text " + quote(n.Value)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isNumber(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float")
}

// bare returns s without quotes, as for a number, unless it is long.
func bare(s string) string {
	if len(s) > maxQuoted {
		return quote(s)
	}
	return s
}

// decimal parses a decimal number without sign or leading zero. A number that overflows
// becomes the largest int64.
func decimal(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	number, _ := strconv.ParseInt(s, 10, 64) // the only possible error is ErrRange
	return number, true
}
