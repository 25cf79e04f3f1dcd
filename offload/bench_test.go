package offload

import (
	"strings"
	"testing"

	"uringhttpd/offload/selftest"
)

func TestFastest(t *testing.T) {
	m := func(driver string, streams int, rate, cost float64) selftest.Measurement {
		return selftest.Measurement{Where: "kernel", Driver: driver, Streams: streams, MiBPerSecond: rate, SecondsPerGiB: cost}
	}
	for _, tt := range []struct {
		name           string
		all            []selftest.Measurement
		winner, second string
	}{
		{"none", nil, "", ""},
		{"one", []selftest.Measurement{m("a", 1, 10, 1), m("a", 4, 20, 1)}, "a", ""},
		{"the faster", []selftest.Measurement{m("a", 4, 20, 1), m("b", 4, 30, 9), m("c", 4, 10, 1)}, "b", "a"},
		{"as fast, and cheaper", []selftest.Measurement{m("a", 4, 100, 3), m("b", 4, 95, 1)}, "b", "a"},
		{"with one stream alone", []selftest.Measurement{m("a", 1, 100, 1), m("a", 4, 100, 1), m("b", 1, 10, 1), m("b", 4, 200, 1)}, "b", "a"},
		{"the second comes last", []selftest.Measurement{m("b", 4, 30, 1), m("c", 4, 10, 1), m("a", 4, 20, 1)}, "b", "a"},
	} {
		winner, second := Fastest(tt.all)
		if winner.Driver != tt.winner || second.Driver != tt.second {
			t.Errorf("%s: %q before %q, want %q before %q", tt.name, winner.Driver, second.Driver, tt.winner, tt.second)
		}
	}
	got := BenchText([]selftest.Measurement{m("a", 4, 20, 1), m("b", 4, 42, 0.3)})
	want := "the fastest is kernel TLS with b: 2.10 times the throughput of kernel TLS with a, at 0.30 times its processor time\n"
	if !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 3 {
		t.Errorf("got %s", got)
	}
}
