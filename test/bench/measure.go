package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// wrkScript makes wrk print its totals as JSON. duration is in microseconds.
const wrkScript = `done = function(s)
  local e = s.errors
  io.write(string.format('\n{"requests":%d,"bytes":%d,"duration":%d,"errors":%d}\n', s.requests, s.bytes, s.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
`

// totals are the numbers that a client measured in one run.
type totals struct {
	Requests, Bytes int64
	Duration        int64 // us
	Errors          int64
}

// A sample is one measurement of one server.
type sample struct {
	cpu  float64 // ns of the server's CPU time for a request, or for a KiB
	rate float64 // requests, or KiB, a second
}

// A result is a row with the samples of each server, in the order of peers.
type result struct {
	row
	peers   []string
	samples [][]sample // by peer, then by round
}

// measureRow starts all servers, checks their responses, and measures them in turn.
func measureRow(ctx context.Context, o options, n *network, s *site, r row) (res result, err error) {
	script, err := s.write("totals.lua", wrkScript)
	if err != nil {
		return res, err
	}
	res.row = r
	var servers []*server
	defer func() {
		for _, sv := range servers {
			err = errors.Join(err, sv.stop())
		}
	}()
	for i, p := range peers(o) {
		sv, err := startServer(ctx, n, s, p, 8000+10*i)
		if err != nil {
			return res, err
		}
		servers = append(servers, sv)
		res.peers = append(res.peers, p.name)
		if err := check(ctx, n, s, sv, r); err != nil {
			return res, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	res.samples = make([][]sample, len(servers))
	for round := range o.rounds {
		for i := range servers {
			i = (i + round) % len(servers)
			sm, err := measure(ctx, o, n, servers[i], r, script)
			if err != nil {
				return res, fmt.Errorf("%s: %w", servers[i].name, err)
			}
			res.samples[i] = append(res.samples[i], sm)
		}
	}
	return res, nil
}

// check downloads the row's file by curl and compares it.
func check(ctx context.Context, n *network, s *site, sv *server, r row) error {
	got := filepath.Join(s.dir, "got")
	cmd := command(ctx, n.client, clientCPU, "curl", "-sS", "--fail", "--cacert", s.cert, "-o", got, sv.url(r.tls, r.file))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("curl: %w: %s", err, out)
	}
	if _, err := run(ctx, "cmp", got, filepath.Join(s.root, r.file)); err != nil {
		return fmt.Errorf("wrong response: %w", err)
	}
	return os.Remove(got)
}

// measure loads one server for the time of a measurement.
func measure(ctx context.Context, o options, n *network, sv *server, r row, script string) (sample, error) {
	args := []string{"wrk", "-t1", fmt.Sprintf("-c%d", r.connections), fmt.Sprintf("-d%ds", o.seconds), "--timeout", "30s", "-s", script}
	if r.close {
		args = append(args, "-H", "Connection: close")
	}
	cmd := command(ctx, n.client, clientCPU, append(args, sv.url(r.tls, r.file))...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	before, err := sv.cpu()
	if err != nil {
		return sample{}, err
	}
	out, err := cmd.Output()
	if err != nil {
		return sample{}, fmt.Errorf("wrk: %w: %s%s", err, out, stderr.String())
	}
	after, err := sv.cpu()
	if err != nil {
		return sample{}, err
	}
	var t totals
	if err := json.Unmarshal(out[max(0, strings.LastIndex(string(out), "\n{")):], &t); err != nil {
		return sample{}, fmt.Errorf("wrk: %w in %s", err, out)
	}
	units := t.Requests
	if r.perByte {
		units = t.Bytes >> 10
	}
	if t.Errors > 0 || units == 0 {
		return sample{}, fmt.Errorf("wrk: %+v", t)
	}
	return sample{
		cpu:  float64(after-before) / float64(units),
		rate: float64(units) / (time.Duration(t.Duration) * time.Microsecond).Seconds(),
	}, nil
}

// A spread is a median with the minimum and the maximum.
type spread struct{ median, least, greatest float64 }

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	return spread{v[len(v)/2], v[0], v[len(v)-1]}
}

// ratios returns a figure of peer i in relation to that of the reference in the same round.
func (r result) ratios(i int, figure func(sample) float64) spread {
	var all []float64
	for round, s := range r.samples[i] {
		all = append(all, figure(s)/figure(r.samples[0][round]))
	}
	return spreadOf(all)
}

// absolute returns a figure of peer i.
func (r result) absolute(i int, figure func(sample) float64) spread {
	var all []float64
	for _, s := range r.samples[i] {
		all = append(all, figure(s))
	}
	return spreadOf(all)
}

func cpuOf(s sample) float64  { return s.cpu }
func rateOf(s sample) float64 { return s.rate }

// versionOf returns the first line of the version that a server prints.
func versionOf(ctx context.Context, p peer) string {
	out, err := exec.CommandContext(ctx, p.version[0], p.version[1:]...).CombinedOutput()
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
