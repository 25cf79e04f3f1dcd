// Package devicetree reads device trees: blobs, and what the kernel shows of the one
// that it booted with.
package devicetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// A Node is a part of the hardware, with its properties (Devicetree Specification,
// section 2.2).
type Node struct {
	Name       string // with its unit address, crypto@30900000; "" is the root's
	Path       string // from the root, /soc@0/bus@30800000/crypto@30900000
	Properties map[string][]byte
	Children   []*Node // in order
}

// Bounds of what is read, far above real trees: an i.MX 8M Plus has some 1,500 nodes, and
// 12 of its levels are in use.
const (
	maxNodes    = 1 << 16
	maxDepth    = 64
	maxName     = 255      // bytes; the specification has 31
	maxProperty = 64 << 10 // bytes; a longer one is left out
)

var errTooLarge = errors.New("devicetree: too large to be a board's")

// Walk calls f with n and all nodes below it, parents first.
func (n *Node) Walk(f func(*Node)) {
	f(n)
	for _, c := range n.Children {
		c.Walk(f)
	}
}

// Strings returns a property that is a list of strings (section 2.2.4), such as
// compatible; nil if the node has none of that name.
func (n *Node) Strings(property string) []string {
	value := bytes.TrimSuffix(n.Properties[property], []byte{0})
	if len(value) == 0 {
		return nil
	}
	var list []string
	for _, s := range bytes.Split(value, []byte{0}) {
		list = append(list, printable(s))
	}
	return list
}

// String returns a property that is a string, or "".
func (n *Node) String(property string) string {
	if list := n.Strings(property); len(list) > 0 {
		return list[0]
	}
	return ""
}

// Uint32 returns a property that is one cell; ok is false if there is no such.
func (n *Node) Uint32(property string) (v uint32, ok bool) {
	if value := n.Properties[property]; len(value) == 4 {
		return binary.BigEndian.Uint32(value), true
	}
	return 0, false
}

// Compatible tells whether the node says that it is one of these (section 2.3.1).
func (n *Node) Compatible(names ...string) bool {
	for _, have := range n.Strings("compatible") {
		for _, name := range names {
			if have == name {
				return true
			}
		}
	}
	return false
}

// Enabled tells whether the kernel makes a device of the node, as far as its own
// status says (section 2.3.4); that of its parents matters too.
func (n *Node) Enabled() bool {
	status := n.String("status")
	return status == "" || status == "okay" || status == "ok"
}

// printable is text that can be printed, whatever a tree says.
func printable(s []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(s))
}

// Read reads the tree that the kernel shows as folders and files, those of
// /sys/firmware/devicetree/base as a rule (Documentation/ABI/testing/sysfs-firmware-ofw).
// wanted tells which properties are read; nil is all. What may not be read is left out,
// as the seed of the random number generator is. If fsys has no root, the error is
// fs.ErrNotExist: the machine has no device tree, as PCs have none.
func Read(fsys fs.FS, wanted func(property string) bool) (*Node, error) {
	r := reader{fsys: fsys, wanted: wanted}
	root, err := r.read(".", 0)
	if err != nil {
		return nil, err
	}
	root.Name, root.Path = "", "/"
	return root, nil
}

type reader struct {
	fsys   fs.FS
	wanted func(string) bool
	nodes  int
}

func (r *reader) read(folder string, depth int) (*Node, error) {
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		return nil, errTooLarge
	}
	entries, err := fs.ReadDir(r.fsys, folder)
	if err != nil {
		return nil, fmt.Errorf("devicetree: %w", err)
	}
	n := &Node{Name: printable([]byte(path.Base(folder))), Properties: map[string][]byte{}}
	n.Path = "/" + printable([]byte(folder))
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		switch {
		case e.IsDir():
			child, err := r.read(name, depth+1)
			if errors.Is(err, fs.ErrNotExist) {
				continue // an overlay was taken off meanwhile
			}
			if err != nil {
				return nil, err
			}
			n.Children = append(n.Children, child)
		case e.Type().IsRegular() && (r.wanted == nil || r.wanted(e.Name())):
			if value, ok := r.property(name); ok {
				n.Properties[e.Name()] = value
			}
		}
	}
	return n, nil
}

func (r *reader) property(name string) (value []byte, ok bool) {
	f, err := r.fsys.Open(name)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	value, err = io.ReadAll(io.LimitReader(f, maxProperty+1))
	return value, err == nil && len(value) <= maxProperty
}
