package board

import (
	"fmt"
	"strconv"
	"strings"
)

// An algorithm is one entry of /proc/crypto.
type algorithm struct {
	name, driver string
	priority     int
	async        bool
	passed       bool // the kernel's self-test, or no test is needed
	internal     bool // cannot be requested by name
	larval       bool // not an algorithm: a test or construction in progress
}

// parseCrypto reads /proc/crypto (crypto/proc.c): entries of "key : value" lines, with an
// empty line after each.
func parseCrypto(text string) ([]algorithm, error) {
	var all []algorithm
	for entry := range strings.SplitSeq(text, "\n\n") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		var a algorithm
		for line := range strings.Lines(entry) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			key, value, ok := strings.Cut(line, ":")
			if !ok {
				return nil, fmt.Errorf("board: /proc/crypto: line %q has no colon", line)
			}
			value = strings.TrimSpace(value)
			switch strings.TrimSpace(key) {
			case "name":
				a.name = value
			case "driver":
				a.driver = value
			case "async":
				a.async = value == "yes"
			case "selftest":
				a.passed = value == "passed"
			case "internal":
				a.internal = value == "yes"
			case "type":
				a.larval = value == "larval"
			case "priority":
				n, err := strconv.Atoi(value)
				if err != nil {
					return nil, fmt.Errorf("board: /proc/crypto: priority of %s: %w", a.name, err)
				}
				a.priority = n
			}
		}
		all = append(all, a)
	}
	return all, nil
}

// preferred returns the kernel's selection for a request for name: the entry of the highest
// priority that is neither internal nor larval.
func preferred(all []algorithm, name string) (best algorithm, ok bool) {
	for _, a := range all {
		if a.name == name && !a.internal && !a.larval && (!ok || a.priority > best.priority) {
			best, ok = a, true
		}
	}
	return best, ok
}

// parseTLSStat reads /proc/net/tls_stat: a name and a number per line.
func parseTLSStat(text string) (map[string]int64, error) {
	stat := map[string]int64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("board: /proc/net/tls_stat: line %q is not a name and a number", line)
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("board: /proc/net/tls_stat: %s: %w", f[0], err)
		}
		stat[f[0]] = n
	}
	return stat, nil
}

// parseSlabInfo reads the number of objects in use of each cache from /proc/slabinfo
// (mm/slab_common.c).
func parseSlabInfo(text string) (map[string]int, error) {
	const header = "slabinfo - version: 2.1\n"
	rest, ok := strings.CutPrefix(text, header)
	if !ok {
		return nil, fmt.Errorf("board: /proc/slabinfo does not begin with %q", header)
	}
	active := map[string]int{}
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			return nil, fmt.Errorf("board: /proc/slabinfo: line %q has no number", line)
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("board: /proc/slabinfo: %s: %w", f[0], err)
		}
		active[f[0]] = n
	}
	return active, nil
}
