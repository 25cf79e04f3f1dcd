package offload

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// A Driver is the kernel crypto driver used for a cipher suite.
type Driver struct {
	Suite     uint16 // of TLS 1.3; the driver also serves the suite of TLS 1.2 with the same AEAD
	Algorithm string // name in the crypto API, such as "gcm(aes)"; "" if /proc/crypto does not show it
	Name      string // driver name in the crypto API; "" if /proc/crypto does not show it
	Async     bool   // a request may complete after the call has returned
	Hardware  bool   // the driver is, or uses, an engine outside the processor
	Verified  bool   // the self-test compared its output and found it right
	Inline    bool   // marked asynchronous by the kernel, but synchronous in system calls (cryptoapi.Algorithm)
}

// String returns a description such as "gcm(aes) by gcm-aes-caam (hardware, asynchronous, tested)".
func (d Driver) String() string {
	if d.Name == "" {
		return tls.CipherSuiteName(d.Suite) + " by a driver that /proc/crypto does not show"
	}
	how := "synchronous"
	switch {
	case d.Async:
		how = "asynchronous"
	case d.Inline:
		how = "synchronous in system calls"
	}
	if d.Hardware {
		how = "hardware, " + how
	}
	if d.Verified {
		how += ", tested"
	}
	return fmt.Sprintf("%s by %s (%s)", d.Algorithm, d.Name, how)
}

// Names joins the descriptions of drivers with commas, each description once.
func Names(all []Driver) string {
	var names []string
	for _, d := range all {
		if name := d.String(); !slices.Contains(names, name) { // one driver serves both key lengths
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// A TestResult is the outcome of a self-test of one driver.
type TestResult struct {
	Driver
	Err error // the failure; nil if the driver passed or, with Verified false, was not tested
}
