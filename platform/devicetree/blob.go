package devicetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The flattened format (Devicetree Specification, chapter 5).
const (
	blobMagic = 0xd00dfeed

	headerBytes       = 40
	headerTotal       = 4 // offsets of the header's fields
	headerStructure   = 8
	headerStrings     = 12
	headerCompatible  = 24 // last_comp_version: the oldest version with which the blob is compatible
	compatibleVersion = 16
	maxBlob           = 16 << 20
	tokenBegin        = 1
	tokenEnd          = 2
	tokenProperty     = 3
	tokenNop          = 4
	cell              = 4
)

var errShort = errors.New("it ends too soon")

// Parse parses a device tree blob: the content of a .dtb file or of /sys/firmware/fdt. The error
// says where the blob is malformed.
func Parse(blob []byte) (*Node, error) {
	n, err := parse(blob)
	if err != nil {
		return nil, fmt.Errorf("devicetree: blob: %w", err)
	}
	return n, nil
}

func parse(blob []byte) (*Node, error) {
	if len(blob) < headerBytes {
		return nil, errShort
	}
	field := func(offset int) uint32 { return binary.BigEndian.Uint32(blob[offset:]) }
	if magic := field(0); magic != blobMagic {
		return nil, fmt.Errorf("it begins with %#08x, want %#08x", magic, uint32(blobMagic))
	}
	total := field(headerTotal)
	switch {
	case uint64(total) > uint64(len(blob)):
		return nil, errShort
	case total > maxBlob:
		return nil, errTooLarge
	case field(headerCompatible) > compatibleVersion:
		return nil, fmt.Errorf("version %d is not known, %d is", field(headerCompatible), compatibleVersion)
	case field(headerStructure) > total || field(headerStrings) > total:
		return nil, errShort
	}
	p := parser{data: blob[field(headerStructure):total], names: blob[field(headerStrings):total]}
	return p.tree()
}

// A parser reads the structure block.
type parser struct {
	data, names []byte
	nodes       int
}

func (p *parser) tree() (*Node, error) {
	for {
		token, err := p.cell()
		switch {
		case err != nil:
			return nil, err
		case token == tokenNop:
			continue
		case token != tokenBegin:
			return nil, fmt.Errorf("token %d where the root begins", token)
		}
		root, err := p.node("", 0)
		if err == nil && root.Name != "" {
			return nil, fmt.Errorf("the root is called %q", root.Name)
		}
		return root, err
	}
}

// node reads a node whose token has been read.
func (p *parser) node(parent string, depth int) (*Node, error) {
	if p.nodes++; p.nodes > maxNodes || depth > maxDepth {
		return nil, errTooLarge
	}
	end := bytes.IndexByte(p.data, 0)
	switch {
	case end < 0:
		return nil, errShort
	case end > maxName:
		return nil, errTooLarge
	}
	n := &Node{Name: printable(p.data[:end]), Properties: map[string][]byte{}}
	n.Path = parent + "/" + n.Name
	if err := p.skip(end + 1); err != nil {
		return nil, err
	}
	below := n.Path
	if depth == 0 {
		below = ""
	}
	for {
		token, err := p.cell()
		if err != nil {
			return nil, err
		}
		switch token {
		case tokenNop:
		case tokenProperty:
			if err := p.property(n); err != nil {
				return nil, err
			}
		case tokenBegin:
			child, err := p.node(below, depth+1)
			if err != nil {
				return nil, err
			}
			n.Children = append(n.Children, child)
		case tokenEnd:
			return n, nil
		default:
			return nil, fmt.Errorf("token %d in node %s", token, n.Path)
		}
	}
}

func (p *parser) property(n *Node) error {
	length, err := p.cell()
	if err != nil {
		return err
	}
	at, err := p.cell()
	if err != nil {
		return err
	}
	if uint64(length) > uint64(len(p.data)) || uint64(at) >= uint64(len(p.names)) {
		return errShort
	}
	name := p.names[at:]
	end := bytes.IndexByte(name, 0)
	switch {
	case end < 0:
		return errShort
	case end > maxName:
		return errTooLarge
	}
	if length <= maxProperty {
		n.Properties[string(name[:end])] = bytes.Clone(p.data[:length])
	}
	return p.skip(int(length))
}

func (p *parser) cell() (uint32, error) {
	if len(p.data) < cell {
		return 0, errShort
	}
	v := binary.BigEndian.Uint32(p.data)
	p.data = p.data[cell:]
	return v, nil
}

// skip skips n bytes and the padding of the last cell.
func (p *parser) skip(n int) error {
	n = (n + cell - 1) / cell * cell
	if n > len(p.data) {
		return errShort
	}
	p.data = p.data[n:]
	return nil
}
