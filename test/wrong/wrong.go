// Package wrong makes builds of the daemon that are wrong on purpose, each in
// one way that loses data or memory on real boards. A test of a promise runs
// against them too: if it does not fail there, it proves nothing.
//
// The product has no switch for this. A wrong build is the product's source with
// one passage replaced while it is compiled (go build -overlay).
package wrong

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Variant is one way to be wrong.
type Variant struct {
	Name string
	File string // from the module's root
	Old  string // stands there exactly once
	New  string
}

// NoDrain ends a connection without waiting until kernel TLS is empty.
var NoDrain = Variant{
	Name: "no drain",
	File: "service/closing.go",
	Old:  "case r.Pending > 0:\n\t\treturn c.waitForClient(r, now)\n\t}\n\treturn then(now)",
	New:  "case r.Pending > 1<<40:\n\t}\n\treturn then(now)",
}

// OnlyPOLLOUT pushes whenever the socket takes bytes, however much is pending.
var OnlyPOLLOUT = Variant{
	Name: "POLLOUT is the only gate",
	File: "service/transfer.go",
	Old:  "if r.Pending > maxPending {\n\t\t\treturn c.waitForClient(r, now)\n\t\t}\n",
	New:  "",
}

// WrongMeter computes what TCP was given from what TCP says it has sent. A
// packet that is dropped in a queue of this machine counts twice there.
var WrongMeter = Variant{
	Name: "wrong meter",
	File: "ktls/meter.go",
	Old:  "return int64(info.Bytes_acked), int64(queued), nil",
	New:  "_ = queued\n\treturn int64(info.Bytes_sent - info.Bytes_retrans), int64(info.Notsent_bytes), nil",
}

// NoLinger closes with input unread, and so resets the connection.
var NoLinger = Variant{
	Name: "close with unread input",
	File: "service/closing.go",
	Old:  "return c.discard(now)\n}\n\n// discard",
	New:  "return c.closeSocket()\n}\n\n// discard",
}

// NoSeal sends the end of a file whatever became of the file meanwhile.
var NoSeal = Variant{
	Name: "no seal",
	File: "service/transfer.go",
	Old:  "if err := p.file.Unchanged(); err != nil {\n\t\treturn c.reset(err.Error())\n\t}\n",
	New:  "_ = p\n",
}

// Variants are all of them.
func Variants() []Variant { return []Variant{NoDrain, OnlyPOLLOUT, WrongMeter, NoLinger, NoSeal} }

// Overlay writes what `go build -overlay` needs into the folder dir, and returns
// the file to name there. root is the module's root.
func (v Variant) Overlay(root, dir string) (string, error) {
	path := filepath.Join(root, v.File)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("wrong: %w", err)
	}
	if n := strings.Count(string(source), v.Old); n != 1 {
		return "", fmt.Errorf("wrong: %s: its passage stands %d times in %s, not once; it has to follow the source", v.Name, n, v.File)
	}
	name := strings.ReplaceAll(v.Name, " ", "-")
	changed := filepath.Join(dir, name+".go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), v.Old, v.New, 1)), 0o600); err != nil {
		return "", fmt.Errorf("wrong: %w", err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return "", fmt.Errorf("wrong: %w", err)
	}
	file := filepath.Join(dir, name+".json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", fmt.Errorf("wrong: %w", err)
	}
	return file, nil
}
