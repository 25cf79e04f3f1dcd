package pattern

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// all reads the content in one go.
func all(t *testing.T, c Content) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPatternIsSplitMix64(t *testing.T) {
	// The first output of SplitMix64 started at 0 is 0xe220a8397b1dcdaf.
	got := all(t, Content{Seed: 0, Size: 9})
	want := []byte{0xaf, 0xcd, 0x1d, 0x7b, 0x39, 0xa8, 0x20, 0xe2}
	if !bytes.Equal(got[:8], want) {
		t.Errorf("first word: got %x, want %x", got[:8], want)
	}
}

func TestContentIsAReaderAt(t *testing.T) {
	for _, c := range []Content{
		{Seed: 1},
		{Seed: 1, Size: 1},
		{Seed: 7, Size: 10007},
		{Seed: 7, Size: 10007, Hole: 5003},
		{Seed: 7, Size: 4096, Hole: 4096},
		{Seed: 7, Size: 10007, Every: 4096},
	} {
		if err := iotest.TestReader(io.NewSectionReader(c, 0, c.Size), all(t, c)); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestBytesAtFarOffset(t *testing.T) {
	const off = 5<<30 - 13
	whole, part := make([]byte, 13), make([]byte, 7)
	c := Content{Seed: 3, Size: 5 << 30, Hole: 5<<30 - 13}
	if _, err := c.ReadAt(whole, off); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadAt(part, off+6); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(whole[6:], part) {
		t.Errorf("the same bytes read twice: %x and %x", whole[6:], part)
	}
	if n, err := c.ReadAt(whole, 5<<30); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestDiffFindsFirstWrongByte(t *testing.T) {
	c := Content{Seed: 9, Size: 20000, Hole: 100}
	good := all(t, c)
	tests := []struct {
		name   string
		got    func() []byte
		off    int64
		differ int
	}{
		{"equal", func() []byte { return good }, 0, -1},
		{"equal, from the middle", func() []byte { return good[777:] }, 777, -1},
		{"one byte", func() []byte { b := bytes.Clone(good); b[12345] ^= 1; return b }, 0, 12345},
		{"a byte in the hole", func() []byte { b := bytes.Clone(good); b[99] = 1; return b }, 0, 99},
		{"shifted", func() []byte { return good[1000:2000] }, 1001, 0},
		{"one byte too many", func() []byte { return append(bytes.Clone(good), 0) }, 0, 20000},
		{"nothing", func() []byte { return nil }, 0, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.Diff(tt.got(), tt.off); got != tt.differ {
				t.Errorf("first difference: got %d, want %d", got, tt.differ)
			}
		})
	}
}

func TestSHA256DependsOnSeed(t *testing.T) {
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := (Content{Seed: 1}).SHA256(0, 0); got != empty {
		t.Errorf("of no bytes: got %s, want %s", got, empty)
	}
	a, b := Content{Seed: 1, Size: 100}, Content{Seed: 2, Size: 100}
	if a.SHA256(0, 100) == b.SHA256(0, 100) {
		t.Error("two seeds, one digest")
	}
}
