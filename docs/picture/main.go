// Picture draws docs/kernel-tls-async.svg from pending.csv: the bytes of one connection inside kernel
// TLS over time, for different conditions before each push. `make picture` runs it; TestPicture in
// test/board measures the data.
//
//	go run ./docs/picture <docs/picture/pending.csv >docs/kernel-tls-async.svg
package main

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// A panel shows one condition before pushes. Each panel has its own axes, since the lines would overlap;
// so the picture needs no colours.
type panel struct {
	gate, title string
	points      []point
}

type point struct{ ms, bytes float64 }

// Lengths in the units of the picture.
const (
	width       = 760
	left, right = 62, 740 // of the panels' axes
	first       = 30      // top of the first panel
	rise        = 110     // height of a panel
	pitch       = 144     // from one panel to the next
	// sparse is the time in ms after which the line between two readings is dashed, since the values
	// between them are unknown.
	sparse = 300
)

// bound is the limit of a connection's bytes inside kernel TLS: MaxPending of service/flow.
const bound = 192 << 10

const mib = 1 << 20

func main() {
	if err := draw(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func draw(in io.Reader, out io.Writer) error {
	panels := []*panel{
		{gate: "none", title: "No gate, push until EAGAIN"},
		{gate: "POLLOUT", title: "POLLOUT before each push"},
		{gate: "meter", title: "The meter before each push"},
	}
	most, err := read(in, panels)
	if err != nil {
		return err
	}
	bottom := first + (len(panels)-1)*pitch + rise
	height := bottom + 46
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img">
<title>Bytes inside kernel TLS over time, on one connection with an asynchronous cipher, by how pushes are gated</title>
<style>
  text { fill: #222 } .note { stroke: #fff; stroke-width: 5; paint-order: stroke } .axis { stroke: #777; fill: none } .grid { stroke: #8885 } .bound { stroke: #777; stroke-dasharray: 2 3 }
  .line, .sparse { fill: none; stroke: #0b62b8; stroke-width: 2 } .sparse { stroke-dasharray: 6 4 } .back { fill: #fff }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } .note { stroke: #161b22 } .line, .sparse { stroke: #6cb6ff } .back { fill: #161b22 } }
</style>
<rect class="back" width="%d" height="%d"/>
`, width, height, width, height)
	for i, p := range panels {
		p.draw(w, first+i*pitch, most)
	}
	for ms := 0.0; ms <= most.ms; ms += step(most.ms) {
		text(w, int(x(ms, most)), bottom+18, "middle", fmt.Sprintf("%g", ms/1000))
	}
	text(w, (left+right)/2, bottom+37, "middle", "seconds since the first push, by a clock that counts instructions")
	fmt.Fprintf(w, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">pending inside kernel TLS, MiB</text>`+"\n", (first+bottom)/2)
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

// read puts the readings into their panels, and returns the largest time and the largest
// number of bytes.
func read(in io.Reader, panels []*panel) (most point, err error) {
	r := csv.NewReader(in)
	r.FieldsPerRecord = 3
	rows, err := r.ReadAll()
	if err != nil {
		return most, err
	}
	for _, row := range rows[min(1, len(rows)):] {
		ms, err1 := strconv.ParseFloat(row[1], 64)
		bytes, err2 := strconv.ParseFloat(row[2], 64)
		if err1 != nil || err2 != nil {
			return most, fmt.Errorf("%q: not two numbers", row)
		}
		for _, p := range panels {
			if p.gate == row[0] {
				p.points = append(p.points, point{ms, bytes})
				most = point{max(most.ms, ms), max(most.bytes, bytes)}
			}
		}
	}
	for _, p := range panels {
		if len(p.points) < 2 {
			return most, fmt.Errorf("no readings of %s", p.gate)
		}
	}
	if most.ms == 0 || most.bytes == 0 {
		return most, fmt.Errorf("nothing to draw")
	}
	return most, nil
}

func x(ms float64, most point) float64 { return left + ms/most.ms*(right-left) }

// step is the time from one mark to the next, in ms.
func step(most float64) float64 {
	n := 500.0
	for most/n > 10 {
		n *= 2
	}
	return n
}

// draw draws the panel with its upper edge at top. All panels have the same scales.
func (p *panel) draw(w io.Writer, top int, most point) {
	bottom := top + rise
	full := 2 * mib * math.Ceil(most.bytes/(2*mib)) // at the upper edge
	y := func(bytes float64) float64 { return float64(bottom) - bytes/full*rise }

	for n := 0.0; n <= full; n += 2 * mib {
		fmt.Fprintf(w, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", left, right, y(n), y(n))
		text(w, left-8, int(y(n))+4, "end", fmt.Sprintf("%.0f", n/mib))
	}
	for ms := 0.0; ms <= most.ms; ms += step(most.ms) {
		fmt.Fprintf(w, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", x(ms, most), x(ms, most), top, bottom)
	}
	fmt.Fprintf(w, `<path class="axis" d="M%d %dV%dH%d"/>`+"\n", left, top, bottom, right)

	largest := 0.0
	for _, q := range p.points {
		largest = max(largest, q.bytes)
	}
	text(w, left, top-9, "start", fmt.Sprintf("%s; at most %s bytes", p.title, grouped(int64(largest))))
	if largest <= bound {
		fmt.Fprintf(w, `<line class="bound" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", left, right, y(bound), y(bound))
		note(w, right-4, int(y(bound))-7, "end", "dotted: this server's bound, 192 KiB")
	}
	for from := 0; from < len(p.points)-1; {
		class, to := "sparse", from+1
		if p.points[to].ms-p.points[from].ms > sparse {
			note(w, int(x(p.points[to].ms, most))+10, top+rise/2+18, "start", "dashed: one splice waits for the engine; no reading")
		} else {
			class = "line"
			for to+1 < len(p.points) && p.points[to+1].ms-p.points[to].ms <= sparse {
				to++
			}
		}
		fmt.Fprintf(w, `<polyline class="%s" points="`, class)
		for _, q := range p.points[from : to+1] {
			fmt.Fprintf(w, "%.1f,%.1f ", x(q.ms, most), y(q.bytes))
		}
		fmt.Fprintln(w, `"/>`)
		from = to
	}
}

// note writes a text that lines may cross, on a ground of its own.
func note(w io.Writer, x, y int, anchor, s string) {
	fmt.Fprintf(w, `<text class="note" x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", x, y, anchor, s)
}

func text(w io.Writer, x, y int, anchor, s string) {
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", x, y, anchor, s)
}

// grouped writes n with a comma before each three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, digit := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}
