package main

import (
	"context"
	"fmt"
	"html"
	"os"
	"runtime"
	"strings"
)

// table returns the rows of a Markdown table, without its head.
func table(results []result) string {
	var b strings.Builder
	for _, r := range results {
		for i, name := range r.peers {
			cpu, rate := r.ratios(i, cpuOf), r.ratios(i, rateOf)
			unit, value := "us/request", r.absolute(i, cpuOf).median/1000
			if r.perByte {
				unit, value = "us/MiB", r.absolute(i, cpuOf).median*1024/1000
			}
			fmt.Fprintf(&b, "| %s | %s | %.1f %s | %.2f (%.2f to %.2f) | %.2f (%.2f to %.2f) |\n",
				r.name, name, value, unit, cpu.median, cpu.least, cpu.greatest, rate.median, rate.least, rate.greatest)
		}
	}
	return b.String()
}

// page returns docs/benchmarks.md.
func page(ctx context.Context, o options, results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

Measured by `+"`make bench`"+`, which writes this page: server CPU time and rate in relation to nginx, which is 1, in the same
round; the median of %d rounds of %d s each, and in parentheses the least and the greatest. Less CPU time is better, and so is a higher rate.
Server and client have a processor each and are in two network namespaces joined by a veth pair. TLS is in user space, and no server
writes an access log. Each server's answer was compared with the file before its measurement.

![Server CPU time in relation to nginx](benchmarks.svg)

| work | server | CPU time | CPU, nginx = 1 | rate, nginx = 1 |
| --- | --- | --- | --- | --- |
`, o.rounds, o.seconds)
	b.WriteString(table(results))
	fmt.Fprintf(&b, "\nMachine: %s, %d processors, Linux %s.\n\n", processor(), runtime.NumCPU(), kernel())
	for _, p := range peers(o) {
		fmt.Fprintf(&b, "- %s: %s\n", p.name, versionOf(ctx, p))
	}
	return b.String()
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// Sizes of the picture, in pixels.
const (
	labelWidth = 210
	unitWidth  = 150 // of a ratio of 1
	barHeight  = 12
	rowGap     = 14
	most       = 5 // the largest ratio drawn
)

var colours = map[string]string{reference: "#7a7a7a", "lighttpd": "#b8a06a", "h2o": "#8fae8b", "Go net/http": "#7fa7c9", "uringhttpd": "#c2452d", "baseline": "#e2a396"}

// picture returns docs/benchmarks.svg: a bar for each server and row.
func picture(results []result) string {
	var body strings.Builder
	y := 24
	for _, r := range results {
		fmt.Fprintf(&body, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth-8, y+barHeight-2, html.EscapeString(r.name))
		for i, name := range r.peers {
			ratio := r.ratios(i, cpuOf).median
			width := int(min(ratio, most) * unitWidth)
			fmt.Fprintf(&body, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/><text x="%d" y="%d" class="n">%s %.2f</text>`+"\n",
				labelWidth, y, width, barHeight-2, colours[name], labelWidth+width+4, y+barHeight-3, html.EscapeString(name), ratio)
			y += barHeight
		}
		y += rowGap
	}
	line := labelWidth + unitWidth
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d">
<style>text { font: 12px sans-serif; fill: #333 } .n { font-size: 10px }</style>
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="%[3]d" y="14" class="n">server CPU time, nginx = 1 (less is better)</text>
<line x1="%[4]d" y1="20" x2="%[4]d" y2="%[2]d" stroke="#bbb"/>
%[5]s</svg>
`, labelWidth+most*unitWidth+150, y, labelWidth, line, body.String())
}
