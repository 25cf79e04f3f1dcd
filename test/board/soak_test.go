//go:build board

package board_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/matrix"
)

var soakFlag = flag.Duration("board.soak", 0, "how long TestSoak runs; default not at all")

const (
	// perBoot is how long a daemon runs before it must be idle, with nothing leaked.
	perBoot = 15 * time.Minute
	// residentMargin is the growth of the daemon's memory that is allowed by then: Go keeps
	// memory that it has used once.
	residentMargin = 32 << 20
)

// TestSoak runs random cells of the matrix, on random machines, for the duration of
// -board.soak: make soak.
func TestSoak(t *testing.T) {
	if *soakFlag == 0 {
		t.Skip("left for make soak")
	}
	s := &soak{model: matrix.Boards(), end: time.Now().Add(*soakFlag)}
	t.Run("lanes", func(t *testing.T) {
		for lane := range runtime.NumCPU() {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				s.lane(t, rand.New(rand.NewPCG(*seedFlag, uint64(lane))))
			})
		}
	})
	text := fmt.Sprintf("%v of random cells, seed %d: %v covered.\n\n%s", *soakFlag, *seedFlag, s.model.Cover(s.ran), matrix.Table(s.lines))
	t.Log("\n" + text)
	if *tableFlag != "" {
		if err := os.WriteFile(*tableFlag, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// A soak is the state that all lanes share.
type soak struct {
	model *matrix.Model
	end   time.Time

	mu    sync.Mutex
	lines []matrix.Line
	ran   []matrix.Row
}

// lane boots one machine after the other.
func (s *soak) lane(t *testing.T, random *rand.Rand) {
	for n := 0; time.Now().Before(s.end) && !t.Failed(); n++ {
		first := s.row(random, nil)
		cell := s.model.Cell(first)
		for _, e := range machines {
			if e.board.String() == cell.Kernel && e.engine.String() == cell.Engine {
				t.Run(fmt.Sprintf("%d/%s", n, cell.Machine()), func(t *testing.T) { s.boot(t, random, e.board, e.engine, first) })
			}
		}
	}
}

// row chooses a possible row at random, on the machine of another row if that is not nil.
func (s *soak) row(random *rand.Rand, like matrix.Row) matrix.Row {
	for {
		r := make(matrix.Row, len(s.model.Factors))
		for i, f := range s.model.Factors {
			r[i] = random.IntN(len(f.Levels))
			if like != nil && (f.Name == matrix.Kernel || f.Name == matrix.Engine) {
				r[i] = like[i]
			}
		}
		if s.model.Excluded(r) == "" && (*onlyFlag == "" || strings.Contains(","+*onlyFlag+",", ","+s.model.Cell(r).Machine()+",")) {
			return r
		}
	}
}

// boot soaks one daemon.
func (s *soak) boot(t *testing.T, random *rand.Rand, b board.Board, e board.Engine, like matrix.Row) {
	ctx := forCells(t, perBoot+20*time.Minute)
	c := startCells(ctx, t, b, e)
	c.base.Varied = true
	end := time.Now().Add(perBoot)
	if s.end.Before(end) {
		end = s.end
	}
	var ran []matrix.Row
	for time.Now().Before(end) && !t.Failed() {
		r := s.row(random, like)
		c.cell(ctx, t, s.model.Cell(r))
		ran = append(ran, r)
	}
	c.end(ctx, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines, s.ran = append(s.lines, c.line), append(s.ran, ran...)
}
