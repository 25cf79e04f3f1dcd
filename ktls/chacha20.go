package ktls

import (
	"encoding/binary"
	"math/bits"
)

const chacha20KeySize = 32

// chacha20XOR encrypts or decrypts data in place: RFC 8439 section 2.4.
func chacha20XOR(key *[chacha20KeySize]byte, nonce *[12]byte, counter uint32, data []byte) {
	state := [16]uint32{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574} // section 2.3
	for i := range 8 {
		state[4+i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	for i := range 3 {
		state[13+i] = binary.LittleEndian.Uint32(nonce[4*i:])
	}
	for ; len(data) > 0; counter++ {
		state[12] = counter
		x := state
		for range 10 { // a round of columns, and one of diagonals
			for i := range 4 {
				quarterRound(&x, i, 4+i, 8+i, 12+i)
			}
			for i := range 4 {
				quarterRound(&x, i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4)
			}
		}
		var block [64]byte
		for i := range x {
			binary.LittleEndian.PutUint32(block[4*i:], x[i]+state[i])
		}
		n := min(len(data), len(block))
		for i := range n {
			data[i] ^= block[i]
		}
		data = data[n:]
	}
}

// quarterRound is that of RFC 8439 section 2.1.
func quarterRound(x *[16]uint32, a, b, c, d int) {
	x[a] += x[b]
	x[d] = bits.RotateLeft32(x[d]^x[a], 16)
	x[c] += x[d]
	x[b] = bits.RotateLeft32(x[b]^x[c], 12)
	x[a] += x[b]
	x[d] = bits.RotateLeft32(x[d]^x[a], 8)
	x[c] += x[d]
	x[b] = bits.RotateLeft32(x[b]^x[c], 7)
}
