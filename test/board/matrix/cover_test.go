package matrix

import (
	"slices"
	"strings"
	"testing"
)

// small is a model with rules that make some tuples impossible, directly and by the
// combination of two rules.
var small = Model{
	Factors: []Factor{
		{"a", []string{"1", "2", "3"}},
		{"b", []string{"x", "y"}},
		{"c", []string{"p", "q", "r"}},
		{"d", []string{"m", "n"}},
	},
	Rules: []Rule{
		{"no 1 with x", map[string][]string{"a": {"1"}, "b": {"x"}}},
		{"no 1 with y and m", map[string][]string{"a": {"1"}, "b": {"y"}, "d": {"m"}}},
	},
	Triples: [][3]string{{"a", "b", "c"}},
}

func TestGenerateCoversAllTuples(t *testing.T) {
	for seed := range uint64(20) {
		rows := small.Generate(seed)
		if c := small.Cover(rows); len(c.Missing) != 0 || c.Pairs != c.RequiredPairs || c.Triples != c.RequiredTriples {
			t.Errorf("seed %d: %v", seed, c)
		}
		for _, r := range rows {
			if why := small.Excluded(r); why != "" {
				t.Errorf("seed %d: %v: %s", seed, r, why)
			}
		}
		if again := small.Generate(seed); !slices.EqualFunc(rows, again, slices.Equal[Row]) {
			t.Errorf("seed %d: two runs differ", seed)
		}
	}
}

// TestRequiredTuplesArePossible: all possible tuples are required, and no others. A pair that no
// rule names is also impossible if each way to complete it is excluded: 1 with m.
func TestRequiredTuplesArePossible(t *testing.T) {
	c := small.Cover(nil)
	// Pairs: ab 6-1, ac 9, ad 6-1, bc 6, bd 4, cd 6. Triples: 18 without those that have 1 and x.
	if c.RequiredPairs != 35 || c.RequiredTriples != 15 || len(c.Missing) != 50 {
		t.Errorf("got %v, %d missing", c, len(c.Missing))
	}
	for _, tuple := range small.Required() {
		if name := small.Name(tuple); strings.Contains(name, "a=1 b=x") || strings.Contains(name, "a=1 d=m") {
			t.Errorf("%s is required, but impossible", name)
		}
	}
}

// TestCoverMisses: gaps in the rows are reported. The last row of a generated set was added for
// some tuple, so there is always a gap without it.
func TestCoverMisses(t *testing.T) {
	rows := small.Generate(1)
	c := small.Cover(rows[:len(rows)-1])
	if len(c.Missing) == 0 || c.Pairs+c.Triples+len(c.Missing) != c.RequiredPairs+c.RequiredTriples {
		t.Errorf("without a row: %v, %d missing", c, len(c.Missing))
	}
	// A generator of pairs only misses triples.
	pairs := small
	pairs.Triples = nil
	if c := small.Cover(pairs.Generate(1)); c.Pairs != c.RequiredPairs || c.Triples == c.RequiredTriples {
		t.Errorf("rows made for pairs: %v", c)
	}
}
