package platform

import (
	"slices"
	"strings"
)

// plainAES are drivers of AES without special instructions whose names do not end in
// -generic: crypto/aes_ti.c, and scalar assembly of arch/*/crypto.
var plainAES = []string{"aes-arm", "aes-arm64", "aes-fixed-time", "aes-asm"}

// Plain reports whether code for any processor, as plain C is, computes a gcm(aes) or a part
// of it in the caller. From Linux 7.1 on parts are called aes-lib and ghash-lib, and use the
// instructions that the processor has: those are not plain.
func (a *Algorithm) Plain() bool {
	return !a.Waits() && slices.ContainsFunc(leaves(a.Driver), func(part string) bool {
		return strings.HasSuffix(part, "-generic") || slices.Contains(plainAES, part)
	})
}

// PlainChaCha20 reports whether plain C computes the ChaCha20 of a
// rfc7539(chacha20,poly1305). Its Poly1305 may be called poly1305-generic and still be the
// library's for the processor (crypto/chacha20poly1305.c since Linux 6.16).
func (a *Algorithm) PlainChaCha20() bool {
	return slices.Contains(leaves(a.Driver), "chacha20-generic")
}

// leaves are the drivers that a template's driver names and that are no templates.
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

// accelerations are the drivers that use a processor's AES instructions.
type acceleration struct {
	options  string // of the kernel's configuration
	packages string // of the Yocto Project
}

// Acceleration is the remedy, one line, for a gcm(aes) that is [Algorithm.Plain] on a processor
// with AES instructions.
func (r *Report) Acceleration() string {
	a := acceleration{"CONFIG_CRYPTO_AES_NI_INTEL", "kernel-module-aesni-intel"}
	switch {
	case strings.HasPrefix(r.Machine, "aarch64"), strings.HasPrefix(r.Machine, "armv8"): // armv8l: a 32-bit personality
		a = acceleration{"CONFIG_CRYPTO_AES_ARM64_CE_BLK and CONFIG_CRYPTO_GHASH_ARM64_CE", "kernel-module-aes-ce-blk and kernel-module-ghash-ce"}
	case strings.HasPrefix(r.Machine, "arm"):
		a = acceleration{"CONFIG_CRYPTO_AES_ARM_CE and CONFIG_CRYPTO_GHASH_ARM_CE", "kernel-module-aes-arm-ce and kernel-module-ghash-arm-ce"}
	}
	return "build the kernel with " + a.options + " (m or y), and install and load the modules (with the Yocto Project, " + a.packages + ")"
}
