// Package metrics serves numbers in Prometheus' text format, version 0.0.4. It holds none itself:
// the caller keeps its counters as it likes, and hands in their values when they are read.
package metrics

import (
	"fmt"
	"net/http"
	"strings"
)

// A Kind is the type of a metric, by Prometheus' name.
type Kind string

const (
	Counter Kind = "counter" // only grows while the process runs
	Gauge   Kind = "gauge"
)

// A Family is a metric with all its labels.
type Family struct {
	Name    string
	Kind    Kind
	Help    string   // one line
	Samples []Sample // without samples, a family is left out
}

// A Sample is a value of a metric.
type Sample struct {
	Labels []Label
	Value  int64
}

// A Label distinguishes samples of a metric.
type Label struct{ Name, Value string }

// Labeled returns a sample with labels, given as pairs of name and value.
func Labeled(v int64, pairs ...string) Sample {
	s := Sample{Value: v}
	for ; len(pairs) > 1; pairs = pairs[2:] {
		s.Labels = append(s.Labels, Label{pairs[0], pairs[1]})
	}
	return s
}

// Single returns the only sample of a metric without labels.
func Single(v int64) []Sample { return []Sample{{Value: v}} }

// Serve answers a request for the path /metrics with the families.
func Serve(w http.ResponseWriter, r *http.Request, families []Family) {
	if r.URL.Path != "/metrics" {
		http.Error(w, "the metrics are at /metrics", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the metrics support GET and HEAD only", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, text(families))
}

// escape replaces the characters with a meaning in a label's value.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func text(families []Family) string {
	var b strings.Builder
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.Name, f.Help, f.Name, f.Kind)
		for _, s := range f.Samples {
			b.WriteString(f.Name)
			for i, l := range s.Labels {
				fmt.Fprintf(&b, `%c%s="%s"`, "{,"[min(i, 1)], l.Name, escape.Replace(l.Value))
			}
			if len(s.Labels) > 0 {
				b.WriteByte('}')
			}
			fmt.Fprintf(&b, " %d\n", s.Value)
		}
	}
	return b.String()
}
