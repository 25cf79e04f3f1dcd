package wire

import (
	"bufio"
	"errors"
	"fmt"
)

// ReadLine reads a line of at most MaxLine bytes and returns it without its end. The caller owns
// the slice. Unlike bufio.Scanner, it reads each byte once, which matters for lines of megabytes
// on an emulated processor.
func ReadLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > MaxLine {
			return nil, fmt.Errorf("wire: a line of more than %d bytes", MaxLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return line[:len(line)-1], nil
	}
}
