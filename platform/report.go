package platform

import (
	"errors"
	"slices"
	"strings"

	"uringhttpd/ktls"
	"uringhttpd/platform/cryptoapi"
)

// A Report describes the features of this machine and its kernel.
type Report struct {
	Kernel  string  `json:"kernel"`   // release, as uname -r prints it
	Build   string  `json:"build"`    // as uname -v prints it; on Debian it contains the version of the source
	Machine string  `json:"machine"`  // hardware name, as uname -m prints it
	IOURing Feature `json:"io_uring"` // a ring like the service's, and its use
	// Sends is tested only where it matters, with an asynchronous driver, and once per process.
	Sends     SendTest `json:"sends_without_room,omitempty"`
	KernelTLS Feature  `json:"kernel_tls"` // sending TLS 1.3 from the kernel, with at least one of Ciphers

	Ciphers []Cipher `json:"ciphers"` // all that kernel TLS may accept

	// Netlink is NETLINK_CRYPTO, which reports the drivers that are hardware.
	Netlink Feature `json:"netlink_crypto"`

	// AESInstructions reports whether the processor has instructions for AES-GCM,
	// and the kernel lets programs of this architecture use them.
	AESInstructions bool `json:"aes_instructions"`

	// GCM lists every gcm(aes) in /proc/crypto. The drivers that the kernel may
	// select come first, by descending priority, so GCM[0] is the selected driver
	// (see [Report.Selected]); those that it may not select (internal, or not passed
	// by the kernel's self-test) follow.
	GCM []cryptoapi.Algorithm `json:"gcm"`

	// CTR is the same for ctr(aes), from which the kernel builds a gcm(aes) template driver if no
	// driver implements all of gcm(aes).
	CTR []cryptoapi.Algorithm `json:"ctr"`

	// ChaCha20 is the same for rfc7539(chacha20,poly1305).
	ChaCha20 []cryptoapi.Algorithm `json:"chacha20"`

	fixes KernelFixes // defects that are fixed although the kernel's version does not show it

	// AFALG holds the results of the tests of drivers over AF_ALG. Newer kernels expose only a
	// few drivers to it, so a driver that it does not reach is not suspect.
	AFALG []cryptoapi.DriverAnswer `json:"af_alg,omitempty"`

	// Speeds are the measurements that compare kernel TLS and user space; empty if there are none.
	Speeds []Speed `json:"speeds,omitempty"`
}

// A Speed is the measured speed of encryption on this machine, summed over several connections
// over the loopback interface.
type Speed struct {
	Suite         uint16  `json:"-"`                         // cipher suite of TLS 1.3, as in crypto/tls
	Cipher        string  `json:"cipher"`                    // name of the suite
	Kernel        bool    `json:"kernel"`                    // kernel TLS; else this program encrypts
	MiBPerSecond  float64 `json:"mib_per_second"`            // of plaintext
	SecondsPerGiB float64 `json:"processor_seconds_per_gib"` // time of all processors, receiving included
}

// sameSpeed is the ratio up to which two speeds count as equal.
const sameSpeed = 1.1

// Better reports whether s has more throughput than t or, if both have about the same, uses less
// processor time.
func (s Speed) Better(t Speed) bool {
	if s.MiBPerSecond > t.MiBPerSecond*sameSpeed || t.MiBPerSecond > s.MiBPerSecond*sameSpeed {
		return s.MiBPerSecond > t.MiBPerSecond
	}
	return s.SecondsPerGiB < t.SecondsPerGiB
}

// Sources names the sources that contributed to the report, as in "/proc/crypto, NETLINK_CRYPTO and
// a test of kernel TLS".
func (r *Report) Sources() string {
	var all []string
	add := func(name string, contributed bool) {
		if contributed {
			all = append(all, name)
		}
	}
	add("/proc/crypto", len(r.GCM)+len(r.ChaCha20) > 0)
	add("NETLINK_CRYPTO", r.Netlink.Usable)
	add("AF_ALG", slices.ContainsFunc(r.AFALG, func(a cryptoapi.DriverAnswer) bool { return a.Asked }))
	add("a test of kernel TLS", slices.ContainsFunc(r.Ciphers, func(c Cipher) bool { return c.Verified || c.Quarantined }))
	add("a measurement", len(r.Speeds) > 0)
	if len(all) == 0 {
		return "the probe of kernel TLS alone"
	}
	last := len(all) - 1
	if last == 0 {
		return all[0]
	}
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

// A Cipher is a cipher suite of TLS 1.3 and whether kernel TLS accepts it.
type Cipher struct {
	Suite uint16 `json:"-"`    // as in crypto/tls
	Name  string `json:"name"` // of the cipher suite
	Feature
	Verified    bool `json:"verified"`    // the self-test of the kernel's encryption passed
	Quarantined bool `json:"quarantined"` // the self-test failed or got no result; Usable is false
	Defective   bool `json:"defective"`   // the kernel has a known defect with its driver (see Restricted); Usable is false
}

// Supports reports whether kernel TLS accepts a cipher suite.
func (r *Report) Supports(suite uint16) bool {
	for _, c := range r.Ciphers {
		if c.Suite == suite {
			return c.Usable
		}
	}
	return false
}

// Selected returns the selected driver: the implementation that a kernel TLS connection
// set up now with a cipher suite would use. It returns false if the kernel has no
// driver that it may use. If the suite is not usable, a module that is not loaded yet
// may still provide a driver.
func (r *Report) Selected(suite uint16) (cryptoapi.Algorithm, bool) {
	list := r.GCM
	if s, _ := ktls.SuiteOf(suite); s.Cipher == ktls.ChaCha20Poly1305 {
		list = r.ChaCha20
	}
	if len(list) == 0 || !list[0].Selectable() {
		return cryptoapi.Algorithm{}, false
	}
	return list[0], true
}

// A Feature is a feature of the kernel, and whether this process can use it now.
type Feature struct {
	Usable       bool   `json:"usable"`
	Inconclusive bool   `json:"inconclusive,omitempty"` // the probe could not run; Usable is false, probe again
	Reason       string `json:"reason,omitempty"`       // why it is not usable, one line; empty if usable
	Remedy       string `json:"remedy,omitempty"`       // how to make it usable, one line; empty if usable
}

// Verdicts are the outcomes of self-tests of kernel TLS, by cipher suite. A suite without an
// entry was not tested.
type Verdicts map[uint16]Verdict

// A Verdict is the outcome of the self-test of the selected driver.
type Verdict struct {
	Driver string // the driver that passed, selected before and after the test; "" if it is not visible
	Err    error  // why the test failed; nil if it passed
}

// ErrTimeout is wrapped by the error of a Verdict if the driver did not complete the test in time:
// its engine may be dead.
var ErrTimeout = errors.New("no answer in time")

// failure returns the error of a failed test of any suite with c's algorithm: a driver found wrong
// for one key length is not trusted with another.
func (v Verdicts) failure(c ktls.Suite) error {
	for _, other := range ktls.Suites() {
		if err := v[other.ID].Err; err != nil && other.Algorithm == c.Algorithm {
			return err
		}
	}
	return nil
}
