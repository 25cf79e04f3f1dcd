package config

import "strings"

// allKeys lists every key there is, sections before what stands under them.
func allKeys() []string {
	return strings.Fields(`
		listen listen[].address listen[].tls listen[].public
		root
		tls tls.certificate tls.key tls.client_ca tls.kernel tls.cipher tls.minimum_version
		crypto crypto.prefer
		limits limits.connections limits.header_timeout limits.idle_timeout limits.stall_timeout limits.rate
		index
		log log.level log.access
		metrics metrics.address`)
}

// suggest says what to do about the unknown key name where known ones belong.
func suggest(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return "did you mean " + near + "?"
	}
	var elsewhere []string
	for _, key := range allKeys() {
		if key[strings.LastIndexByte(key, '.')+1:] == name {
			elsewhere = append(elsewhere, key)
		}
	}
	if len(elsewhere) > 0 {
		return "did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	return "known here: " + strings.Join(known, ", ")
}

// nearest returns the known word that name is most likely a slip of, or "".
func nearest(name string, known []string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	best, bestDistance := "", 3
	for _, word := range known {
		// A slip in three letters is likely; "tls" is no slip of "log".
		allowed := min(2, len(word)/3)
		if distance := editDistance(name, word); distance <= allowed && distance < bestDistance {
			best, bestDistance = word, distance
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment), in bytes. Words
// whose lengths differ by more than any slip are just far apart.
func editDistance(a, b string) int {
	if len(a) > len(b)+3 || len(b) > len(a)+3 {
		return max(len(a), len(b))
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
