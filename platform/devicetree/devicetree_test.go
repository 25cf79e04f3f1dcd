package devicetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

// A writer makes a blob.
type writer struct {
	structure, strings bytes.Buffer
}

func (w *writer) cells(v ...uint32) {
	for _, c := range v {
		binary.Write(&w.structure, binary.BigEndian, c)
	}
}

func (w *writer) pad() {
	for w.structure.Len()%cell != 0 {
		w.structure.WriteByte(0)
	}
}

func (w *writer) begin(name string) {
	w.cells(tokenBegin)
	w.structure.WriteString(name + "\x00")
	w.pad()
}

func (w *writer) property(name, value string) {
	w.cells(tokenProperty, uint32(len(value)), uint32(w.strings.Len()))
	w.strings.WriteString(name + "\x00")
	w.structure.WriteString(value)
	w.pad()
}

func (w *writer) end() { w.cells(tokenEnd) }

func (w *writer) blob() []byte {
	structure, names := w.structure.Bytes(), w.strings.Bytes()
	total := headerBytes + len(structure) + len(names)
	var blob []byte
	blob = binary.BigEndian.AppendUint32(blob, blobMagic)
	for _, v := range []int{total, headerBytes, headerBytes + len(structure), headerBytes, 17, 16, 0, len(names), len(structure)} {
		blob = binary.BigEndian.AppendUint32(blob, uint32(v))
	}
	return append(append(blob, structure...), names...)
}

// board is a small tree.
func board() *writer {
	w := &writer{}
	w.cells(tokenNop)
	w.begin("")
	w.property("compatible", "vendor,board\x00fsl,imx8mp\x00")
	w.property("model", "A board\x00")
	w.begin("soc@0")
	w.cells(tokenNop)
	w.begin("crypto@30900000")
	w.property("compatible", "fsl,sec-v4.0\x00")
	w.property("status", "disabled\x00")
	w.property("fsl,sec-era", "\x00\x00\x00\x09")
	w.property("empty", "")
	w.end()
	w.end()
	w.begin("memory")
	w.end()
	w.end()
	w.cells(9) // the end of the tree
	return w
}

func TestParse(t *testing.T) {
	root, err := Parse(board().blob())
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	root.Walk(func(n *Node) { paths = append(paths, n.Path) })
	if got, want := strings.Join(paths, " "), "/ /soc@0 /soc@0/crypto@30900000 /memory"; got != want {
		t.Errorf("nodes %s, want %s", got, want)
	}
	if got := root.Strings("compatible"); !reflect.DeepEqual(got, []string{"vendor,board", "fsl,imx8mp"}) || root.String("model") != "A board" {
		t.Errorf("compatible %q, model %q", got, root.String("model"))
	}
	crypto := root.Children[0].Children[0]
	era, ok := crypto.Uint32("fsl,sec-era")
	if era != 9 || !ok {
		t.Errorf("era %d, %t", era, ok)
	}
	if _, ok := crypto.Uint32("status"); ok {
		t.Error("a string is taken for a cell")
	}
	if crypto.Enabled() || !root.Enabled() {
		t.Error("status is not seen")
	}
	if !crypto.Compatible("other", "fsl,sec-v4.0") || crypto.Compatible("fsl,sec-v4", "") {
		t.Error("compatible is compared wrongly")
	}
	if crypto.Strings("empty") != nil || crypto.Strings("none") != nil {
		t.Error("an empty property is a list of strings")
	}
}

// TestRead: the tree that the kernel exposes is the same.
func TestRead(t *testing.T) {
	want, err := Parse(board().blob())
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"memory": {Mode: fs.ModeDir | 0o755}}
	want.Walk(func(n *Node) {
		for name, value := range n.Properties {
			files[strings.TrimPrefix(strings.TrimSuffix(n.Path, "/")+"/"+name, "/")] = &fstest.MapFile{Data: value}
		}
	})
	got, err := Read(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	got.Walk(func(n *Node) { count++ })
	crypto := got.Children[1].Children[0]
	if count != 4 || got.Path != "/" || crypto.Path != "/soc@0/crypto@30900000" || crypto.Name != "crypto@30900000" {
		t.Errorf("%d nodes, %s, %s", count, got.Path, crypto.Path)
	}
	if !reflect.DeepEqual(crypto.Properties, want.Children[0].Children[0].Properties) {
		t.Errorf("%q", crypto.Properties)
	}
	some, err := Read(files, func(name string) bool { return name == "status" })
	if err != nil {
		t.Fatal(err)
	}
	if got := some.Children[1].Children[0].Properties; len(got) != 1 || got["status"] == nil {
		t.Errorf("of status alone: %q", got)
	}
	if _, err := Read(fstest.MapFS{}, nil); err != nil {
		t.Error(err) // an empty directory
	}
	if _, err := Read(missing{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a tree: %v", err)
	}
}

type missing struct{}

func (missing) Open(string) (fs.File, error) { return nil, fs.ErrNotExist }

// TestParseWrong: malformed input is an error, not a crash, and takes bounded time.
func TestParseWrong(t *testing.T) {
	whole := board().blob()
	for n := range len(whole) {
		if _, err := Parse(whole[:n]); err == nil {
			t.Fatalf("the first %d bytes of %d are taken for a tree", n, len(whole))
		}
	}
	deep := &writer{}
	for range maxDepth + 2 {
		deep.begin("")
	}
	if _, err := Parse(deep.blob()); !errors.Is(err, errTooLarge) {
		t.Errorf("too deep: %v", err)
	}
	many := &writer{}
	many.begin("")
	for range maxNodes {
		many.begin("n")
		many.end()
	}
	if _, err := Parse(many.blob()); !errors.Is(err, errTooLarge) {
		t.Errorf("too many: %v", err)
	}
	for name, change := range map[string]func([]byte){
		"magic":   func(b []byte) { b[0] = 0 },
		"version": func(b []byte) { b[headerCompatible+3] = 18 },
		"token":   func(b []byte) { b[headerBytes+3] = 7 },
		"root":    func(b []byte) { b[headerBytes+8] = 'x' },
	} {
		blob := bytes.Clone(whole)
		change(blob)
		if _, err := Parse(blob); err == nil {
			t.Errorf("%s: taken for a tree", name)
		}
	}
}

// TestPrintable: a tree can say anything, and the log and the terminal are not for that.
func TestPrintable(t *testing.T) {
	w := &writer{}
	w.begin("")
	w.property("model", "a\x1b[31m\xffboard\x00")
	w.end()
	root, err := Parse(w.blob())
	if err != nil {
		t.Fatal(err)
	}
	if got := root.String("model"); got != "a?[31m?board" {
		t.Errorf("%q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(board().blob())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, blob []byte) {
		root, err := Parse(blob)
		if err != nil {
			return
		}
		root.Walk(func(n *Node) {
			if !strings.HasPrefix(n.Path, "/") {
				t.Errorf("path %q", n.Path)
			}
			for name := range n.Properties {
				n.Strings(name)
				n.Uint32(name)
			}
			n.Enabled()
		})
	})
}
