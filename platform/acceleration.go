package platform

import "strings"

// An acceleration names the drivers that use a processor's AES instructions.
type acceleration struct {
	options  string // options of the kernel's configuration
	packages string // packages of the Yocto Project
}

// Acceleration returns the remedy, in one line, for a gcm(aes) that is [cryptoapi.Algorithm.Plain] on a
// processor with AES instructions.
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
