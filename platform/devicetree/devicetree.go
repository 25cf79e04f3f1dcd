// Package devicetree reads device trees: blobs, and the files in which the kernel exposes the tree
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

// A Node is a node of the tree, with its properties (Devicetree Specification, section 2.2).
type Node struct {
	Name       string // with its unit address, crypto@30900000; "" for the root
	Path       string // from the root, /soc@0/bus@30800000/crypto@30900000
	Properties map[string][]byte
	Children   []*Node // in tree order
}

// Bounds of the input, far above real trees: the tree of an i.MX 8M Plus has some 1,500 nodes
// and 12 levels.
const (
	maxNodes    = 1 << 16
	maxDepth    = 64
	maxName     = 255      // bytes; the specification allows 31
	maxProperty = 64 << 10 // bytes; a longer property is omitted
)

var errTooLarge = errors.New("devicetree: too large to be a board's")

// Walk calls f with n and all nodes below it, parents first.
func (n *Node) Walk(f func(*Node)) {
	f(n)
	for _, c := range n.Children {
		c.Walk(f)
	}
}

// Strings returns the value of a property that is a list of strings (section 2.2.4), such as
// compatible; nil if the node has no such property.
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

// String returns the value of a property that is a string, or "" if the node has no such property.
func (n *Node) String(property string) string {
	if list := n.Strings(property); len(list) > 0 {
		return list[0]
	}
	return ""
}

// Uint32 returns the value of a property of one cell; ok is false if the node has no such property.
func (n *Node) Uint32(property string) (v uint32, ok bool) {
	if value := n.Properties[property]; len(value) == 4 {
		return binary.BigEndian.Uint32(value), true
	}
	return 0, false
}

// Compatible reports whether the node's compatible property contains any of names (section 2.3.1).
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

// Enabled reports whether the node's own status lets the kernel create a device of it (section
// 2.3.4); the status of its parents matters too.
func (n *Node) Enabled() bool {
	status := n.String("status")
	return status == "" || status == "okay" || status == "ok"
}

// printable returns s with every byte other than printable ASCII replaced, since a tree may contain
// any bytes.
func printable(s []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(s))
}

// Read reads the tree that the kernel exposes as directories and files, normally
// /sys/firmware/devicetree/base (Documentation/ABI/testing/sysfs-firmware-ofw). wanted reports
// whether a property is read; nil means all. A property without read permission is omitted, such
// as the seed of the random number generator. If fsys has no root, the error wraps
// fs.ErrNotExist: the machine has no device tree, like a PC.
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
				continue // an overlay was removed meanwhile
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
