package cryptoapi

import (
	"slices"
	"strings"
)

// plainAES are the drivers of AES without special instructions whose names do not end in
// -generic: crypto/aes_ti.c, and scalar assembly of arch/*/crypto.
var plainAES = []string{"aes-arm", "aes-arm64", "aes-fixed-time", "aes-asm"}

// Plain reports whether a gcm(aes), or a part of it, is computed in the caller by code without
// special instructions, such as plain C. From Linux 7.1 on, parts named aes-lib and ghash-lib use
// the processor's instructions, so they are not plain.
func (a *Algorithm) Plain() bool {
	return !a.Waits() && slices.ContainsFunc(leaves(a.Driver), func(part string) bool {
		return strings.HasSuffix(part, "-generic") || slices.Contains(plainAES, part)
	})
}

// PlainChaCha20 reports whether plain C computes the ChaCha20 of a
// rfc7539(chacha20,poly1305). Its Poly1305 may be named poly1305-generic and still be the
// library's code for this processor (crypto/chacha20poly1305.c since Linux 6.16).
func (a *Algorithm) PlainChaCha20() bool {
	return slices.Contains(leaves(a.Driver), "chacha20-generic")
}

// leaves returns the drivers in a template driver's name that are not themselves templates.
func leaves(driver string) []string {
	var all []string
	start := 0
	for i := 0; i <= len(driver); i++ {
		if i < len(driver) && driver[i] != '(' && driver[i] != ')' && driver[i] != ',' {
			continue
		}
		if part := driver[start:i]; part != "" && (i == len(driver) || driver[i] != '(') {
			all = append(all, part)
		}
		start = i + 1
	}
	return all
}
