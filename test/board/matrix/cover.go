package matrix

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Factor is a property in which rows differ.
type Factor struct {
	Name   string
	Levels []string
}

// A Rule excludes the rows in which each of its factors has one of the given levels.
type Rule struct {
	Reason string
	When   map[string][]string
}

// A Model is a space of rows. Every pair must be covered, and every triple of the factors named
// in Triples.
type Model struct {
	Factors []Factor
	Rules   []Rule
	Triples [][3]string
}

// A Row has the index of a level for each factor of its model, or free where no level is chosen
// yet.
type Row []int

const free = -1

// A Tuple is a combination of levels of two or three factors.
type Tuple struct {
	n      int
	factor [3]int
	level  [3]int
}

// Level returns the name of a row's level of a factor.
func (m *Model) Level(r Row, factor string) string {
	f := m.factor(factor)
	return m.Factors[f].Levels[r[f]]
}

func (m *Model) factor(name string) int {
	i := slices.IndexFunc(m.Factors, func(f Factor) bool { return f.Name == name })
	if i < 0 {
		panic("matrix: no factor is called " + name)
	}
	return i
}

// Excluded returns the reason why a row is impossible, or "". For an incomplete row, only the
// chosen levels count.
func (m *Model) Excluded(r Row) string { return m.excluder()(r) }

// excluder makes Excluded for many rows, with one lookup of the names.
func (m *Model) excluder() func(Row) string {
	rules := make([]map[int][]bool, len(m.Rules)) // by factor: whether the rule has the level
	for i, rule := range m.Rules {
		rules[i] = map[int][]bool{}
		for name, levels := range rule.When {
			f := m.factor(name)
			for _, level := range m.Factors[f].Levels {
				rules[i][f] = append(rules[i][f], slices.Contains(levels, level))
			}
		}
	}
	return func(r Row) string {
		for i, rule := range rules {
			matches := true
			for f, levels := range rule {
				if r[f] == free || !levels[r[f]] {
					matches = false
					break
				}
			}
			if matches {
				return m.Rules[i].Reason
			}
		}
		return ""
	}
}

// groups returns the sets of factors whose levels must be covered together.
func (m *Model) groups() [][]int {
	var groups [][]int
	for a := range m.Factors {
		for b := a + 1; b < len(m.Factors); b++ {
			groups = append(groups, []int{a, b})
		}
	}
	for _, names := range m.Triples {
		groups = append(groups, []int{m.factor(names[0]), m.factor(names[1]), m.factor(names[2])})
	}
	return groups
}

// tuples returns the tuples of the chosen levels of a row.
func tuples(groups [][]int, r Row) []Tuple {
	all := make([]Tuple, 0, len(groups))
	for _, g := range groups {
		t := Tuple{n: len(g)}
		for i, f := range g {
			t.factor[i], t.level[i] = f, r[f]
		}
		if !slices.Contains(t.level[:t.n], free) {
			all = append(all, t)
		}
	}
	return all
}

// Name returns a tuple in words.
func (m *Model) Name(t Tuple) string {
	var parts []string
	for i := range t.n {
		f := m.Factors[t.factor[i]]
		parts = append(parts, f.Name+"="+f.Levels[t.level[i]])
	}
	return strings.Join(parts, " ")
}

// Rows calls f with each possible row; f must not keep it.
func (m *Model) Rows(f func(Row)) {
	r := make(Row, len(m.Factors))
	for i := range r {
		r[i] = free
	}
	excluded := m.excluder()
	var choose func(i int)
	choose = func(i int) {
		if i == len(r) {
			f(r)
			return
		}
		for level := range m.Factors[i].Levels {
			if r[i] = level; excluded(r) == "" {
				choose(i + 1)
			}
		}
		r[i] = free
	}
	choose(0)
}

// Required returns the tuples of all possible rows, in order.
func (m *Model) Required() []Tuple {
	groups := m.groups()
	found := map[Tuple]bool{}
	m.Rows(func(r Row) {
		for _, t := range tuples(groups, r) {
			found[t] = true
		}
	})
	return slices.SortedFunc(maps.Keys(found), compareTuples)
}

func compareTuples(a, b Tuple) int {
	return slices.Compare(
		[]int{b.n, a.factor[0], a.factor[1], a.factor[2], a.level[0], a.level[1], a.level[2]},
		[]int{a.n, b.factor[0], b.factor[1], b.factor[2], b.level[0], b.level[1], b.level[2]},
	)
}

// A Coverage counts the required pairs and triples that are covered.
type Coverage struct {
	Pairs, RequiredPairs     int
	Triples, RequiredTriples int
	Missing                  []Tuple
}

func (c Coverage) String() string {
	return fmt.Sprintf("%d of %d pairs, %d of %d triples", c.Pairs, c.RequiredPairs, c.Triples, c.RequiredTriples)
}

// Cover counts the tuples that the rows cover.
func (m *Model) Cover(rows []Row) (c Coverage) {
	groups := m.groups()
	have := map[Tuple]bool{}
	for _, r := range rows {
		for _, t := range tuples(groups, r) {
			have[t] = true
		}
	}
	for _, t := range m.Required() {
		covered, required := &c.Pairs, &c.RequiredPairs
		if t.n == 3 {
			covered, required = &c.Triples, &c.RequiredTriples
		}
		*required++
		if have[t] {
			*covered++
		} else {
			c.Missing = append(c.Missing, t)
		}
	}
	return c
}

// candidates is how many rows are made for each row that is used.
const candidates = 12

// Generate returns rows that cover all required tuples.
func (m *Model) Generate(seed uint64) []Row {
	g := generator{m: m, excluded: m.excluder(), groups: m.groups(), left: map[Tuple]bool{}, random: rand.New(rand.NewPCG(seed, 0))}
	required := m.Required()
	for _, t := range required {
		g.left[t] = true
	}
	var rows []Row
	for _, t := range required {
		if !g.left[t] {
			continue
		}
		var best Row
		most := 0
		for range candidates {
			if r, n := g.candidate(t); n > most {
				best, most = r, n
			}
		}
		for _, covered := range tuples(g.groups, best) {
			delete(g.left, covered)
		}
		rows = append(rows, best)
	}
	return rows
}

// A generator makes rows greedily, as AETG does (Cohen, Dalal, Fredman and Patton, 1997).
type generator struct {
	m        *Model
	excluded func(Row) string
	groups   [][]int
	left     map[Tuple]bool // tuples that no row covers yet
	random   *rand.Rand
}

// candidate makes a row with the levels of t, and returns the number of new tuples in it.
func (g *generator) candidate(t Tuple) (Row, int) {
	r := make(Row, len(g.m.Factors))
	for i := range r {
		r[i] = free
	}
	for i := range t.n {
		r[t.factor[i]] = t.level[i]
	}
	for _, f := range g.random.Perm(len(r)) {
		if r[f] != free {
			continue
		}
		best, most := free, -1
		for _, level := range g.random.Perm(len(g.m.Factors[f].Levels)) {
			if r[f] = level; !g.possible(r) {
				continue
			}
			if n := g.gain(r); n > most {
				best, most = level, n
			}
		}
		r[f] = best // one level is possible, since r was possible before
	}
	return r, g.gain(r)
}

// gain returns the number of tuples in left that a row covers.
func (g *generator) gain(r Row) (n int) {
	for _, t := range tuples(g.groups, r) {
		if g.left[t] {
			n++
		}
	}
	return n
}

// possible reports whether a row can be completed.
func (g *generator) possible(r Row) bool {
	if g.excluded(r) != "" {
		return false
	}
	f := slices.Index(r, free)
	if f < 0 {
		return true
	}
	defer func() { r[f] = free }()
	for level := range g.m.Factors[f].Levels {
		if r[f] = level; g.possible(r) {
			return true
		}
	}
	return false
}
