package wire

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestReadLineReturnsWholeLines(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	r := bufio.NewReaderSize(strings.NewReader("one\n\n"+long+"\ncut"), 16)
	for _, want := range []string{"one", "", long} {
		got, err := ReadLine(r)
		if err != nil || string(got) != want {
			t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(want))
		}
	}
	if got, err := ReadLine(r); err != io.EOF {
		t.Errorf("a line without an end: got %q, %v, want EOF", got, err)
	}
	endless := bufio.NewReader(io.LimitReader(zeros{}, MaxLine+10))
	if _, err := ReadLine(endless); err == nil || err == io.EOF {
		t.Errorf("a line above the limit: got %v, want an error about the limit", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
