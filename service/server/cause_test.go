package server

import (
	"fmt"
	"testing"
)

// TestNamesAreUnique: each cause, state, phase, transport, owner and continuation has a name of its
// own.
func TestNamesAreUnique(t *testing.T) {
	var all []fmt.Stringer
	for c := causeNone; c <= causeStopped; c++ {
		all = append(all, c)
	}
	for s := stHandshakeInput; s <= stClosed; s++ {
		all = append(all, s)
	}
	for p := phRead; p <= phFill; p++ {
		all = append(all, p)
	}
	for tr := plain; tr <= unknown; tr++ {
		all = append(all, tr)
	}
	for o := ownerNone; o <= ownerOrphan; o++ {
		all = append(all, o)
	}
	for t := thenReadHandshake; t <= thenShutdown; t++ {
		all = append(all, t)
	}
	seen := map[string]bool{}
	for _, v := range all {
		name := fmt.Sprintf("%T %v", v, v)
		if v.String() == "" || seen[name] {
			t.Errorf("%q is no name, or twice there", name)
		}
		seen[name] = true
	}
}
