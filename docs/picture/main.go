// Picture draws docs/kernel-tls-async.svg from pending.csv: what one connection has
// inside kernel TLS over time, by how pushes are gated. `make picture` runs it;
// TestPicture in test/board measures.
//
//	go run ./docs/picture <docs/picture/pending.csv >docs/kernel-tls-async.svg
package main

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
)

// A line of the picture. Its colour can be told from the others' on white and on
// black, also without seeing colours: its dash differs, too.
type line struct {
	gate, title, colour, dash string
	points                    []point
}

type point struct{ ms, bytes float64 }

// The picture's measures, in its own units.
const (
	width, height            = 760, 400
	left, right, top, bottom = 70, 20, 50, 350 // of the area with lines
)

func main() {
	if err := draw(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func draw(in io.Reader, out io.Writer) error {
	lines := []*line{
		{gate: "none", title: "no gate: push until EAGAIN", colour: "#d1495b"},
		{gate: "POLLOUT", title: "POLLOUT before each push", colour: "#b07c00", dash: "7 3"},
		{gate: "meter", title: "the meter", colour: "#2b8fd6", dash: "2 2"},
	}
	r := csv.NewReader(in)
	r.FieldsPerRecord = 3
	rows, err := r.ReadAll()
	if err != nil {
		return err
	}
	var most point
	for _, row := range rows[min(1, len(rows)):] {
		ms, err1 := strconv.ParseFloat(row[1], 64)
		bytes, err2 := strconv.ParseFloat(row[2], 64)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("%q: not two numbers", row)
		}
		for _, l := range lines {
			if l.gate == row[0] {
				l.points = append(l.points, point{ms, bytes})
				most = point{max(most.ms, ms), max(most.bytes, bytes)}
			}
		}
	}
	if most.ms == 0 || most.bytes == 0 {
		return fmt.Errorf("nothing to draw")
	}
	x := func(ms float64) float64 { return left + ms/most.ms*(width-left-right) }
	y := func(bytes float64) float64 { return bottom - bytes/most.bytes*(bottom-top) }

	w := bufio.NewWriter(out)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img">
<title>Bytes inside kernel TLS over time, on one connection with an asynchronous cipher, by how pushes are gated</title>
<style>
  text { fill: #222 } .axis { stroke: #888 } .grid { stroke: #8884 } .line { fill: none; stroke-width: 1.8 }
  .back { fill: #fff }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } .back { fill: #161b22 } }
</style>
<rect class="back" width="%d" height="%d"/>
`, width, height, width, height)
	const mib = 1 << 20
	for n := 0.0; n <= most.bytes; n += mib {
		fmt.Fprintf(w, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			left, width-right, y(n), y(n), left-8, y(n)+4, n/mib)
	}
	step := 500.0
	for most.ms/step > 10 {
		step *= 2
	}
	for ms := 0.0; ms <= most.ms; ms += step {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n", x(ms), bottom+18, ms/1000)
	}
	fmt.Fprintf(w, `<path class="axis" fill="none" d="M%d %dV%dH%d"/>`+"\n", left, top, bottom, width-right)
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="middle">seconds since the first push</text>`+"\n", (left+width-right)/2, bottom+38)
	fmt.Fprintf(w, `<text transform="translate(22 %d) rotate(-90)" text-anchor="middle">pending inside kernel TLS, MiB</text>`+"\n", (top+bottom)/2)
	for i, l := range lines {
		fmt.Fprintf(w, `<polyline class="line" stroke="%s" stroke-dasharray="%s" points="`, l.colour, l.dash)
		for _, p := range l.points {
			fmt.Fprintf(w, "%.1f,%.1f ", x(p.ms), y(p.bytes))
		}
		at := left + 10 + i*230
		fmt.Fprintf(w, `"/>`+"\n"+`<path class="line" stroke="%s" stroke-dasharray="%s" d="M%d 26h28"/><text x="%d" y="30">%s</text>`+"\n",
			l.colour, l.dash, at, at+34, l.title)
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}
