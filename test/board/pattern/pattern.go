package pattern

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// Content describes a file of Size bytes: Hole bytes of zeros (a hole in a sparse file),
// followed by the pattern of Seed. The pattern at an offset does not depend on Hole and Size. If
// Every is not 0, the second half of each Every bytes is zeros, too.
type Content struct {
	Seed  uint64 `json:"seed"`
	Size  int64  `json:"size"`
	Hole  int64  `json:"hole,omitempty"`
	Every int64  `json:"every,omitempty"`
}

// ReadAt fills p with the bytes at off, as io.ReaderAt does.
func (c Content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("pattern: negative offset %d", off)
	}
	if off >= c.Size {
		return 0, io.EOF
	}
	var err error
	if left := c.Size - off; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	rest := p
	if off < c.Hole {
		zeros := rest[:min(int64(len(rest)), c.Hole-off)]
		clear(zeros)
		rest = rest[len(zeros):]
	}
	fill(rest, c.Seed, off+int64(len(p)-len(rest)))
	if c.Every > 0 {
		for i := range p {
			if (off+int64(i))%c.Every >= c.Every/2 {
				p[i] = 0
			}
		}
	}
	return len(p), err
}

// Diff compares got with the bytes at off and returns the index in got of the first byte that
// differs, or -1. Bytes beyond the end of the content differ.
func (c Content) Diff(got []byte, off int64) int {
	var want [4096]byte
	for done := 0; done < len(got); {
		n, err := c.ReadAt(want[:min(len(want), len(got)-done)], off+int64(done))
		for i, b := range want[:n] {
			if got[done+i] != b {
				return done + i
			}
		}
		done += n
		if err != nil && done < len(got) {
			return done
		}
	}
	return -1
}

// SHA256 returns the digest in hexadecimal of n bytes at off.
func (c Content) SHA256(off, n int64) string {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(c, off, n)); err != nil {
		panic("pattern: reading from memory failed: " + err.Error())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fill writes the pattern of seed from offset off to p: little-endian words, each computed by
// mix from the seed and the word's number.
func fill(p []byte, seed uint64, off int64) {
	var word [8]byte
	for len(p) > 0 {
		binary.LittleEndian.PutUint64(word[:], mix(seed, uint64(off)/8))
		n := copy(p, word[off%8:])
		p, off = p[n:], off+int64(n)
	}
}

// mix is SplitMix64 (Steele, Lea and Flood, 2014): it returns output number n of the generator
// started at seed.
func mix(seed, n uint64) uint64 {
	z := seed + (n+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
