package config

import (
	"testing"
)

// TestOverlapMatchesTheKernel: want is false if Linux binds both addresses of a pair.
func TestOverlapMatchesTheKernel(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"0.0.0.0:1", "[::]:1", false}, {":1", "0.0.0.0:1", true}, {":1", "[::]:1", true}, {":1", ":1", true}, {":1", ":2", false},
		{":0", ":0", false}, {"0.0.0.0:1", "1.2.3.4:1", true}, {"[::]:1", "1.2.3.4:1", false}, {"[::]:1", "[::1]:1", true},
		{"1.2.3.4:1", "1.2.3.5:1", false}, {"a:1", "A:1", true}, {"a:1", "b:1", false}, {"a:1", "0.0.0.0:1", false}, {"a:1", ":1", true},
		{"systemd:a", "systemd:a", true}, {"systemd:a", "systemd:b", false}, {"systemd:a", ":1", false},
	} {
		if got := Overlap(test.a, test.b); got != test.want {
			t.Errorf("Overlap(%q, %q) = %v, want %v", test.a, test.b, got, test.want)
		}
		if got := Overlap(test.b, test.a); got != test.want {
			t.Errorf("Overlap(%q, %q) = %v, want %v", test.b, test.a, got, test.want)
		}
	}
}
