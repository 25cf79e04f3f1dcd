package server

import (
	"bytes"
	"math/rand/v2"
	"time"
)

// A script makes all decisions of a simulated world. Each decision
// consumes bytes of it. 0 is always the tame decision, and after its end a script
// returns 0. So a script that is shortened, or has bytes set to 0, is still a script,
// of a tamer world.
type script struct {
	data []byte
	pos  int
	rng  *rand.Rand // extends data; nil: 0 after the end
}

// seeded is an endless script, the same for each seed.
func seeded(seed uint64) *script { return &script{rng: rand.New(rand.NewPCG(seed, 0))} }

func (s *script) next() int {
	if s.pos == len(s.data) {
		if s.rng == nil {
			return 0
		}
		s.data = append(s.data, byte(s.rng.Uint32()))
	}
	s.pos++
	return int(s.data[s.pos-1])
}

// choice returns a number from 0 to n-1, for n of at most 65536; the tame decision is 0.
func (s *script) choice(n int) int {
	if n <= 256 {
		return s.next() * n >> 8
	}
	return (s.next()<<8 | s.next()) * n >> 16
}

// chance returns true with a probability of perMille/1000; the tame decision is false.
func (s *script) chance(perMille int) bool {
	return s.next()<<8|s.next() >= 65536-perMille*65536/1000
}

// upTo returns a number from 1 to n, for n of at least 1; the tame decision is n.
func (s *script) upTo(n int) int {
	if !s.chance(300) {
		return n
	}
	return 1 + s.choice(min(n, 65536))
}

// shrink returns the shortest and tamest script that it finds until end, for which
// fails still returns true.
func shrink(data []byte, end time.Time, fails func([]byte) bool) []byte {
	late := func() bool { return time.Now().After(end) }
	// The end of a script is often unrelated to the fault.
	for n := len(data) / 2; n > 0; n /= 2 {
		for len(data) > n && !late() && fails(data[:len(data)-n]) {
			data = data[:len(data)-n]
		}
	}
	for size := len(data); size > 0; size /= 2 {
		for at := 0; at < len(data); {
			if late() {
				return data
			}
			next := min(at+size, len(data))
			without := append(append([]byte(nil), data[:at]...), data[next:]...)
			tame := append([]byte(nil), data...)
			clear(tame[at:next])
			switch {
			case fails(without):
				data = without
				continue
			case !bytes.Equal(tame, data) && fails(tame):
				data = tame
			}
			at = next
		}
	}
	return bytes.TrimRight(data, "\x00")
}
