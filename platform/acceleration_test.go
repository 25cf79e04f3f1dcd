package platform

import (
	"strings"
	"testing"
)

// TestAccelerationByArchitecture: the remedy names the options of the machine's architecture.
func TestAccelerationByArchitecture(t *testing.T) {
	for machine, option := range map[string]string{
		"aarch64": "CONFIG_CRYPTO_AES_ARM64_CE_BLK and CONFIG_CRYPTO_GHASH_ARM64_CE (", "armv8l": "CONFIG_CRYPTO_AES_ARM64_CE_BLK",
		"armv7l": "CONFIG_CRYPTO_AES_ARM_CE and CONFIG_CRYPTO_GHASH_ARM_CE (", "x86_64": "CONFIG_CRYPTO_AES_NI_INTEL (",
	} {
		if r := (Report{Machine: machine}); !strings.Contains(r.Acceleration(), option) {
			t.Errorf("%s: %s; want %s", machine, r.Acceleration(), option)
		}
	}
}
