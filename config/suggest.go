package config

import (
	"slices"
	"strings"
)

// keys lists every key of fields, each section before its keys.
func keys(parent string, fields []field) []string {
	var all []string
	for _, f := range fields {
		key := child(parent, f.name)
		all = append(all, key)
		if f.list {
			key += "[]"
		}
		all = append(all, keys(key, f.under)...)
	}
	return all
}

// lastWord returns the last component of key, as it is written in the file.
func lastWord(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// suggest returns the correction for the unknown key name in a section with the keys known.
func (r *reader) suggest(name string, known []string) string {
	word := strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	for key, words := range synonyms() {
		switch {
		case !slices.Contains(strings.Fields(words), word):
		case slices.Contains(known, lastWord(key)):
			return "did you mean " + lastWord(key) + "?"
		default:
			return "did you mean " + key + "?"
		}
	}
	if near := nearest(name, known); near != "" {
		return "did you mean " + near + "?"
	}
	all := keys("", r.schema())
	words := make([]string, len(all))
	for i, key := range all {
		words[i] = lastWord(key)
	}
	meant := word
	if !slices.Contains(words, word) {
		meant = nearest(name, words)
	}
	var elsewhere []string
	for _, key := range all {
		if lastWord(key) == meant {
			elsewhere = append(elsewhere, key)
		}
	}
	if len(elsewhere) > 0 {
		return "did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	return "write one of these: " + strings.Join(known, ", ")
}

// synonyms maps each key to the names that other servers, or users, give it, separated by
// spaces. None of them is itself a key.
func synonyms() map[string]string {
	return map[string]string{
		"listen":                "listener listeners server servers",
		"listen[].address":      "port ports bind host addr listen_address bind_address interface",
		"listen[].tls":          "ssl https use_tls tls_enabled enable_tls",
		"listen[].public":       "anonymous unauthenticated insecure without_client_ca",
		"root":                  "document_root documentroot docroot webroot wwwroot www htdocs dir directory folder path root_dir",
		"tls.certificate":       "cert certs certificates cert_file certfile certificate_file ssl_certificate sslcertificatefile ssl_cert tls_cert crt pem chain fullchain",
		"tls.key":               "private_key privatekey key_file keyfile ssl_certificate_key sslcertificatekeyfile ssl_key tls_key certificate_key",
		"tls.client_ca":         "ca cas ca_file cafile ca_certificate client_ca_file client_cert client_certificate client_auth verify_client mtls ssl_client_certificate ssl_verify_client sslcacertificatefile",
		"tls.kernel":            "ktls kernel_tls offload tls_offload",
		"tls.cipher":            "ciphers cipher_suite cipher_suites ciphersuites ssl_ciphers sslciphersuite",
		"tls.minimum_version":   "min_version minversion tls_version version minimum_tls_version min_tls_version protocol protocols ssl_protocols sslprotocol",
		"crypto.prefer":         "driver engine caam hardware accelerator crypto_engine crypto_driver",
		"crypto.kernel_fixes":   "fixes fixed cve cves kernel_fixed repaired backports",
		"limits.connections":    "max_connections maxconnections max_conns max_clients maxclients worker_connections connection_limit",
		"limits.header_timeout": "client_header_timeout read_timeout read_header_timeout request_timeout",
		"limits.idle_timeout":   "keepalive keepalive_timeout keepalivetimeout keep_alive keep_alive_timeout",
		"limits.stall_timeout":  "send_timeout write_timeout response_timeout",
		"limits.buffer":         "buffer_size buffers send_buffer sndbuf",
		"limits.cache":          "open_file_cache file_cache cache_size memory_cache",
		"limits.rate":           "limit_rate rate_limit ratelimit max_rate bandwidth throttle speed",
		"index":                 "autoindex auto_index listing listings directory_listing dirlisting dirlist browse indexes",
		"log":                   "logs logging logger",
		"log.level":             "log_level loglevel verbosity verbose debug error_log errorlog",
		"log.access":            "access_log accesslog customlog requests",
		"metrics.address":       "metrics_address metrics_listen prometheus stats status monitoring",
	}
}

// wordSynonyms maps synonyms of values to the values.
func wordSynonyms() map[string]string {
	return map[string]string{
		"warning": "warn", "err": "error", "fatal": "error", "critical": "error", "information": "info", "notice": "info", "trace": "debug", "verbose": "debug",
		"no": "off", "none": "off", "never": "off", "disabled": "off", "disable": "off", "false": "off",
		"required": "require", "always": "require", "force": "require", "only": "require", "default": "auto", "automatic": "auto", "yes": "auto", "on": "auto",
		"aes": "aes-gcm", "gcm": "aes-gcm", "aes128-gcm": "aes-gcm", "aes256-gcm": "aes-gcm", "chacha": "chacha20", "chacha20-poly1305": "chacha20", "chacha20_poly1305": "chacha20",
		"tls1.2": "1.2", "tlsv1.2": "1.2", "tls 1.2": "1.2", "tls1.3": "1.3", "tlsv1.3": "1.3", "tls 1.3": "1.3",
		"hw": "hardware", "engine": "hardware", "caam": "hardware", "software": "cpu", "sw": "cpu", "processor": "cpu", "listing": "html", "json": "html",
	}
}

// nearest returns the known word that name is most likely a misspelling of, or "".
func nearest(name string, known []string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	best, bestDistance := "", 3
	for _, word := range known {
		// One error in three letters is likely; "tls" is not a misspelling of "log".
		allowed := min(2, len(word)/3)
		if distance := editDistance(name, word); distance <= allowed && distance < bestDistance {
			best, bestDistance = word, distance
		}
	}
	return best
}

// editDistance returns the number of insertions, deletions, replacements and swaps of
// adjacent bytes that turn a into b (optimal string alignment). For words whose lengths differ
// by more than 3 it returns the longer length.
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
