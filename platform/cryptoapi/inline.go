package cryptoapi

import (
	"maps"
	"strings"
)

// Waits reports whether a caller in process context may have to wait for the result, because an
// engine, cryptd or pcrypt computes it asynchronously. Kernel TLS runs in process context in system
// calls and in io_uring's workers.
func (a *Algorithm) Waits() bool { return a.Async && (!a.Inline || a.Hardware) }

// Engine reports whether an engine beside the processor may compute a: its callers wait, and not
// only for other threads of the kernel.
func (a *Algorithm) Engine() bool { return a.Waits() && (!a.Deferred || a.Hardware) }

// hashTwins maps asynchronous hashes with their own copy of the SIMD helper (crypto/simd.c) to the
// drivers that they call: arch/arm/crypto/ghash-ce-glue.c and
// arch/x86/crypto/ghash-clmulni-intel_glue.c, in kernels that have the helper.
var hashTwins = map[string][]string{
	"ghash-ce":      {"ghash-ce-sync", "__driver-ghash-ce"},
	"ghash-clmulni": {"__ghash-pclmulqdqni"},
}

// inlineTemplates are the templates that compute in the caller if their parts do. Other templates,
// such as cryptd and pcrypt, may not.
var inlineTemplates = map[string]bool{
	"gcm_base": true, "gcm": true, "ctr": true, "rfc7539": true,
	"cbc": true, "cts": true, "xts": true, "lrw": true, "rfc4106": true, "seqiv": true,
}

// processorTemplates are the templates that compute on the processor if their parts do: in the
// caller or, for cryptd and pcrypt, in other threads of the kernel.
var processorTemplates = func() map[string]bool {
	all := maps.Clone(inlineTemplates)
	all["cryptd"], all["pcrypt"] = true, true
	return all
}()

// markInline sets Inline and Deferred. The kernel's SIMD helper (crypto/simd.c) registers, for an
// internal driver __D, a driver D with the flag CRYPTO_ALG_ASYNC. In process context D calls __D
// directly; it passes the request to cryptd(__D) only where vector registers cannot be used.
// A template of such drivers inherits the flag (crypto_attr_alg and
// CRYPTO_ALG_INHERITED_FLAGS in crypto/algapi.c), and computes as its parts do.
func markInline(all []Algorithm) {
	entries := map[string]Algorithm{}
	for _, a := range all {
		if other, ok := entries[a.Driver]; !ok || a.Async && !other.Async {
			entries[a.Driver] = a
		}
	}
	for i := range all {
		if a := &all[i]; a.Async && !a.Internal && a.Type != "larval" {
			a.Inline = computes(a.Driver, entries, inlineTemplates, maxParts)
			a.Deferred = !a.Inline && computes(a.Driver, entries, processorTemplates, maxParts)
		}
	}
}

// maxParts bounds the nesting depth of templates.
const maxParts = 8

// computes reports whether a driver is synchronous, is a driver of the SIMD helper, or consists of
// such drivers and the given templates. depth is the remaining depth of templates to examine.
func computes(driver string, entries map[string]Algorithm, templates map[string]bool, depth int) bool {
	a, listed := entries[driver]
	switch {
	case depth == 0:
		return false
	case listed && !a.Async:
		return true
	case listed && hasTwin(driver, entries):
		return true
	}
	template, rest, ok := strings.Cut(driver, "(")
	if !ok { // a part without an entry: library functions have none in later kernels
		return !listed && (strings.HasSuffix(driver, "-generic") || strings.HasSuffix(driver, "-lib"))
	}
	inner, ok := strings.CutSuffix(rest, ")")
	if !ok || !templates[template] {
		return false
	}
	for _, part := range splitParts(inner) {
		if !computes(part, entries, templates, depth-1) {
			return false
		}
	}
	return true
}

// hasTwin reports whether a driver is the outer driver (D, not __D) of a pair of the SIMD helper.
func hasTwin(driver string, entries map[string]Algorithm) bool {
	twin, ok := entries["__"+driver]
	deferred, used := entries["cryptd(__"+driver+")"]
	if ok && twin.Internal && !twin.Async || used && deferred.Internal {
		return true
	}
	for _, name := range hashTwins[driver] {
		if twin, ok := entries[name]; ok && !twin.Async {
			return true
		}
	}
	return false
}

// splitParts splits a template's list of drivers, such as "ctr(aes-generic),ghash-ce".
func splitParts(text string) []string {
	var parts []string
	depth, start := 0, 0
	for i, c := range text {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	return append(parts, text[start:])
}
