package config

import (
	"fmt"
	"log/slog"
	"net"

	"gopkg.in/yaml.v3"
)

const (
	versionTLS12 = 0x0303
	versionTLS13 = 0x0304

	maxListeners = 64
)

// reader fills cfg from YAML nodes and collects the problems that it finds.
type reader struct {
	cfg      *Config
	dir      string // base of relative paths; absolute
	last     int    // number of the last line
	problems Problems

	addresses []address // all addresses to listen on
}

// entry is a key, in the form that problems use, with its line and its value.
type entry struct {
	key  string
	line int
	node *yaml.Node
}

// field is a key that a mapping may have, with the function that reads its value.
type field struct {
	name  string
	read  func(entry) // nil: the value is a mapping with the keys under
	under []field
	list  bool // the value is a list of mappings with the keys under
}

func section(name string, under []field) field { return field{name: name, under: under} }

func value(name string, read func(entry)) field { return field{name: name, read: read} }

// schema returns all keys of a configuration.
func (r *reader) schema() []field {
	return []field{
		{name: "listen", read: r.listen, under: r.listener(new(Listen)), list: true},
		value("root", r.root),
		section("tls", r.tls()),
		section("crypto", r.crypto()),
		section("limits", r.limits()),
		value("index", r.index),
		section("log", r.log()),
		section("metrics", r.metrics()),
	}
}

func (r *reader) configuration(top *yaml.Node) {
	if r.mapping(entry{"", top.Line, top}, r.schema()) {
		r.required()
		r.protection()
		r.plainHTTP()
		r.collisions()
		r.versions()
	}
}

func (r *reader) listen(e entry) {
	if !r.kind(e, yaml.SequenceNode, "a list of addresses", `write a list of entries such as - address: ":443"`) {
		return
	}
	if n := len(e.node.Content); n == 0 || n > maxListeners {
		r.wrong(e, fmt.Sprintf("has %d entries", n), fmt.Sprintf(`write 1 to %d entries such as - address: ":443"`, maxListeners))
		return
	}
	r.cfg.Listen = make([]Listen, len(e.node.Content))
	for i, node := range e.node.Content {
		item := entry{fmt.Sprintf("%s[%d]", e.key, i), node.Line, node}
		r.cfg.lines[item.key] = item.line
		l := &r.cfg.Listen[i]
		ok := r.mapping(item, r.listener(l))
		if ok && !r.has(item.key+".address") {
			r.wrong(item, "has no address", `write address: ":443" in it`)
		}
	}
}

func (r *reader) listener(l *Listen) []field {
	return []field{
		value("address", func(e entry) { r.listenAddress(e, &l.Address) }),
		value("tls", func(e entry) { r.boolean(e, &l.TLS) }),
		value("public", func(e entry) { r.boolean(e, &l.Public) }),
	}
}

func (r *reader) root(e entry) {
	r.path(e, &r.cfg.Root, pathDirectory)
}

func (r *reader) tls() []field {
	tls := &r.cfg.TLS
	return []field{
		value("certificate", func(e entry) { r.path(e, &tls.Certificate, pathCredential) }),
		value("key", func(e entry) { r.path(e, &tls.Key, pathCredential) }),
		value("client_ca", func(e entry) { r.path(e, &tls.ClientCA, pathCredential) }),
		value("kernel", func(e entry) {
			choose(r, e, &tls.Kernel, []option[KernelTLS]{
				{"auto", KernelAuto}, {"require", KernelRequire}, {"off", KernelOff}})
		}),
		value("cipher", func(e entry) {
			choose(r, e, &tls.Cipher, []option[Cipher]{
				{"auto", CipherAuto}, {"aes-gcm", CipherAESGCM}, {"chacha20", CipherChaCha20}})
		}),
		value("minimum_version", func(e entry) {
			choose(r, e, &tls.MinimumVersion, []option[uint16]{{"1.2", versionTLS12}, {"1.3", versionTLS13}})
		}),
	}
}

func (r *reader) crypto() []field {
	crypto := &r.cfg.Crypto
	return []field{
		value("prefer", func(e entry) {
			choose(r, e, &crypto.Prefer, []option[Prefer]{
				{"keep", PreferKeep}, {"hardware", PreferHardware}, {"cpu", PreferCPU}, {"auto", PreferAuto}})
		}),
		value("kernel_fixes", r.kernelFixes),
	}
}

// KnownFixes returns the CVEs that crypto.kernel_fixes may contain.
func KnownFixes() []string { return []string{"CVE-2024-26584", "CVE-2026-31533"} }

func (r *reader) kernelFixes(e entry) {
	if !r.kind(e, yaml.SequenceNode, "a list of CVEs", "write [] or a list such as [CVE-2026-31533]") {
		return
	}
	var options []option[string]
	for _, cve := range KnownFixes() {
		options = append(options, option[string]{cve, cve})
	}
	for i, node := range e.node.Content {
		cve := ""
		if choose(r, entry{fmt.Sprintf("%s[%d]", e.key, i), node.Line, node}, &cve, options); cve != "" {
			r.cfg.Crypto.KernelFixes = append(r.cfg.Crypto.KernelFixes, cve)
		}
	}
}

func (r *reader) limits() []field {
	limits := &r.cfg.Limits
	return []field{
		value("connections", func(e entry) { r.count(e, &limits.Connections, 1, 1_000_000) }),
		value("header_timeout", func(e entry) { r.duration(e, &limits.HeaderTimeout) }),
		value("idle_timeout", func(e entry) { r.duration(e, &limits.IdleTimeout) }),
		value("stall_timeout", func(e entry) { r.duration(e, &limits.StallTimeout) }),
		value("buffer", func(e entry) { r.size(e, &limits.Buffer, 256<<10, 1<<30, "from 256KiB to 1GiB") }),
		value("cache", func(e entry) {
			if e.node.Kind == yaml.ScalarNode && e.node.Value == "auto" {
				limits.Cache = CacheAuto
				return
			}
			r.size(e, &limits.Cache, 0, 64<<30, "of at most 64GiB, or auto")
		}),
		value("rate", func(e entry) {
			r.size(e, &limits.Rate, 0, 1<<40, "of at most 1024GiB")
			r.notImplemented(e, limits.Rate != 0, "write 0, which is unlimited")
		}),
	}
}

func (r *reader) index(e entry) {
	choose(r, e, &r.cfg.Index, []option[Index]{{"off", IndexOff}, {"html", IndexHTML}})
}

func (r *reader) log() []field {
	log := &r.cfg.Log
	return []field{
		value("level", func(e entry) {
			choose(r, e, &log.Level, []option[slog.Level]{
				{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError}})
		}),
		value("access", func(e entry) { r.boolean(e, &log.Access) }),
	}
}

func (r *reader) metrics() []field {
	metrics := &r.cfg.Metrics
	return []field{
		value("address", func(e entry) {
			r.metricsAddress(e, &metrics.Address)
		}),
	}
}

// required reports missing keys. A key that is present but invalid has already been
// reported.
func (r *reader) required() {
	if !r.has("listen") {
		r.missing("listen", `write a list of entries such as - address: ":443"`)
	}
	if !r.has("root") {
		r.missing("root", "write root: and the directory to serve, such as /srv/firmware")
	}
	for i, l := range r.cfg.Listen {
		if !l.TLS {
			continue
		}
		right := fmt.Sprintf("listen[%d] has tls: write the path of a PEM file, or credential:NAME", i)
		for _, f := range []struct{ key, path string }{
			{"tls.certificate", r.cfg.TLS.Certificate},
			{"tls.key", r.cfg.TLS.Key},
		} {
			switch {
			case !r.has(f.key) && r.wellFormed("tls"):
				r.missing(f.key, right)
			case r.has(f.key) && f.path == "" && r.wellFormed(f.key):
				r.add(r.cfg.line(f.key), f.key, "is empty", right)
			}
		}
		return
	}
}

// protection reports plain HTTP listeners that bypass tls.client_ca, and listeners with TLS that are
// marked as public.
func (r *reader) protection() {
	for i, l := range r.cfg.Listen {
		key := fmt.Sprintf("listen[%d]", i)
		switch {
		case !r.isParsed(key):
		case l.Public && l.TLS:
			r.add(r.cfg.line(key+".public"), key+".public", "is for listeners without TLS", "remove it: with tls and tls.client_ca, every client must present a certificate")
		case !l.TLS && !l.Public && r.cfg.TLS.ClientCA != "":
			r.add(r.cfg.line(key+".tls"), key+".tls", "is not set, so this listener serves the files to all clients, although tls.client_ca is set", "write tls: true, or public: true if that is intended, or remove the entry")
		}
	}
}

// plainHTTP warns about plain HTTP although TLS is configured: on all listeners, or on a port where
// clients expect HTTPS.
func (r *reader) plainHTTP() {
	tls := &r.cfg.TLS
	configured := ""
	for _, setting := range []struct {
		key string
		set bool
	}{
		{"tls.kernel", tls.Kernel == KernelRequire},
		{"tls.key", tls.Key != ""},
		{"tls.certificate", tls.Certificate != ""},
	} {
		if setting.set && r.has(setting.key) {
			configured = setting.key
		}
	}
	if configured == "" {
		return
	}
	withTLS := false
	for i, l := range r.cfg.Listen {
		// A listener with a problem may be intended to have TLS.
		withTLS = withTLS || l.TLS || !r.isParsed(fmt.Sprintf("listen[%d]", i))
	}
	if !withTLS {
		r.warn(configured, "is set, but no listener has TLS, so everything is served as plain HTTP", "write tls: true in an entry of listen, or remove the section tls")
		return
	}
	for i, l := range r.cfg.Listen {
		_, port, _ := net.SplitHostPort(l.Address)
		if !l.TLS && (port == "443" || port == "8443") {
			r.warn(fmt.Sprintf("listen[%d].address", i), "is plain HTTP on port "+port+", where clients expect HTTPS", "write tls: true in this entry, or another port")
		}
	}
}

// isParsed reports whether no problem has been found with the booleans of the listener with the
// given key.
func (r *reader) isParsed(key string) bool {
	return r.wellFormed(key) && r.wellFormed(key+".tls") && r.wellFormed(key+".public")
}

// versions reports a minimum TLS version that cannot be combined with KernelRequire: the
// kernel does not get the keys of a resumed TLS 1.2 session.
func (r *reader) versions() {
	tls := &r.cfg.TLS
	if tls.Kernel != KernelRequire {
		return
	}
	if r.has("tls.minimum_version") && r.wellFormed("tls.minimum_version") && tls.MinimumVersion == versionTLS12 {
		r.add(r.cfg.line("tls.minimum_version"), "tls.minimum_version", "is 1.2, but tls.kernel: require is for TLS 1.3",
			`write "1.3", or kernel: auto, which serves TLS 1.2 from the kernel where it can`)
		return
	}
	tls.MinimumVersion = versionTLS13
}

func (r *reader) warn(key, wrong, right string) {
	r.cfg.Warnings = append(r.cfg.Warnings, r.cfg.Problem(key, wrong, right))
}

func (r *reader) has(key string) bool {
	_, ok := r.cfg.lines[key]
	return ok
}

// wellFormed reports whether no problem has been found with key itself.
func (r *reader) wellFormed(key string) bool {
	for _, p := range r.problems {
		if p.Key == key {
			return false
		}
	}
	return true
}

func (r *reader) missing(key, right string) {
	r.add(r.cfg.line(key), key, "is missing", right)
}

// notImplemented reports a problem if selected is true: the value of e is valid, but selects a feature
// that this version does not have.
func (r *reader) notImplemented(e entry, selected bool, right string) {
	if selected {
		r.wrong(e, "is not implemented yet", right)
	}
}

func (r *reader) wrong(e entry, wrong, right string) {
	key := e.key
	if key == "" {
		key = keyYAML
	}
	r.add(e.line, key, wrong, right)
}

func (r *reader) add(line int, key, wrong, right string) {
	line = min(max(line, 1), r.last)
	r.problems = append(r.problems, Problem{File: r.cfg.File, Line: line, Key: key, Wrong: wrong, Right: right})
}
