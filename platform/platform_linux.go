package platform

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// Report is what this machine and its kernel can do.
type Report struct {
	Kernel  string  `json:"kernel"`   // release, as uname -r prints it
	Build   string  `json:"build"`    // as uname -v prints it; Debian's names the version of the source
	Machine string  `json:"machine"`  // hardware name, as uname -m prints it
	IOURing Feature `json:"io_uring"` // a ring like the service's, and its use
	// Sends is tested only where it matters, with an asynchronous driver, and once in a process.
	Sends     SendTest `json:"sends_without_room,omitempty"`
	KernelTLS Feature  `json:"kernel_tls"` // sending TLS 1.3 from the kernel, with at least one of Ciphers

	Ciphers []Cipher `json:"ciphers"` // each that kernel TLS may take

	// Netlink is NETLINK_CRYPTO, which tells what is hardware.
	Netlink Feature `json:"netlink_crypto"`

	// AESInstructions tells whether the processor has instructions for AES-GCM,
	// and the kernel lets programs of this architecture use them.
	AESInstructions bool `json:"aes_instructions"`

	// GCM lists every gcm(aes) in /proc/crypto. Those that the kernel may
	// pick come first, by falling priority, so that GCM[0] is the one it picks
	// (see [Report.Picked]); those it may not (internal, or not passed by the
	// kernel's self-test) follow.
	GCM []Algorithm `json:"gcm"`

	// CTR is the same for ctr(aes), of which the kernel makes a gcm(aes) where no driver
	// has a whole one.
	CTR []Algorithm `json:"ctr"`

	// ChaCha20 is the same for rfc7539(chacha20,poly1305).
	ChaCha20 []Algorithm `json:"chacha20"`

	fixes KernelFixes // of which the kernel's version does not tell

	// AFALG is what drivers answered that were asked over AF_ALG. Newer kernels let it reach
	// few of them, so that a driver which was not reached means nothing.
	AFALG []DriverAnswer `json:"af_alg,omitempty"`

	// Speeds is what was measured to find out who is the fastest; empty if nothing was.
	Speeds []Speed `json:"speeds,omitempty"`
}

// A Speed is what encryption reaches on this machine, of several connections over the loopback
// interface together.
type Speed struct {
	Suite         uint16  `json:"-"`                         // of TLS 1.3, as in crypto/tls
	Cipher        string  `json:"cipher"`                    // its name
	Kernel        bool    `json:"kernel"`                    // kernel TLS; else this program encrypts
	MiBPerSecond  float64 `json:"mib_per_second"`            // of plaintext
	SecondsPerGiB float64 `json:"processor_seconds_per_gib"` // of all processors, receiving included
}

// sameSpeed is within what two speeds are taken for equal.
const sameSpeed = 1.1

// Better reports whether s has more throughput than t or, where both have about the same, leaves
// more of the processors to others.
func (s Speed) Better(t Speed) bool {
	if s.MiBPerSecond > t.MiBPerSecond*sameSpeed || t.MiBPerSecond > s.MiBPerSecond*sameSpeed {
		return s.MiBPerSecond > t.MiBPerSecond
	}
	return s.SecondsPerGiB < t.SecondsPerGiB
}

// Sources names what the report is from, as in "/proc/crypto, NETLINK_CRYPTO and a test of kernel
// TLS": those that have answered.
func (r *Report) Sources() string {
	var all []string
	add := func(name string, spoke bool) {
		if spoke {
			all = append(all, name)
		}
	}
	add("/proc/crypto", len(r.GCM)+len(r.ChaCha20) > 0)
	add("NETLINK_CRYPTO", r.Netlink.Usable)
	add("AF_ALG", slices.ContainsFunc(r.AFALG, func(a DriverAnswer) bool { return a.Asked }))
	add("a test of kernel TLS", slices.ContainsFunc(r.Ciphers, func(c Cipher) bool { return c.Verified || c.Quarantined }))
	add("a measurement", len(r.Speeds) > 0)
	if len(all) == 0 {
		return "the kernel's answer alone"
	}
	last := len(all) - 1
	if last == 0 {
		return all[0]
	}
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

// A Cipher is one of TLS 1.3, and whether kernel TLS takes it.
type Cipher struct {
	Suite uint16 `json:"-"`    // as in crypto/tls
	Name  string `json:"name"` // of the cipher suite
	Feature
	Verified    bool `json:"verified"`    // what the kernel encrypts was tested, and right
	Quarantined bool `json:"quarantined"` // it was tested and wrong, or did not come; Usable is false
	Defective   bool `json:"defective"`   // the kernel has a known defect with its driver (see Restricted); Usable is false
}

// Takes tells whether kernel TLS takes a cipher suite.
func (r *Report) Takes(suite uint16) bool {
	for _, c := range r.Ciphers {
		if c.Suite == suite {
			return c.Usable
		}
	}
	return false
}

// Picked returns the implementation that a kernel TLS connection set up now with
// a cipher suite would use, and false if the kernel has none that it may use.
// Where the suite is not usable, a module not loaded yet may still bring one.
func (r *Report) Picked(suite uint16) (Algorithm, bool) {
	list := r.GCM
	if suite == tls.TLS_CHACHA20_POLY1305_SHA256 {
		list = r.ChaCha20
	}
	if len(list) == 0 || !list[0].eligible() {
		return Algorithm{}, false
	}
	return list[0], true
}

// Feature is the answer to: can this process, now, use it?
type Feature struct {
	Usable       bool   `json:"usable"`
	Inconclusive bool   `json:"inconclusive,omitempty"` // the question could not be put; Usable is false, ask again
	Reason       string `json:"reason,omitempty"`       // why not, one line in plain words; empty if usable
	Remedy       string `json:"remedy,omitempty"`       // what to do about it, one line; empty if usable
}

// Verdicts are the outcomes of tests of what kernel TLS encrypts, by cipher suite. What is
// not there was not tested.
type Verdicts map[uint16]Verdict

// A Verdict is on the driver that the kernel picked.
type Verdict struct {
	Driver string // that was found right, before and after the test; "" if it cannot be seen
	Err    error  // what was wrong; nil if nothing was
}

// wrong is the verdict on who computes a cipher's algorithm: he does so for other key
// lengths, too.
func (v Verdicts) wrong(c kernelCipher) error {
	for _, other := range kernelCiphers {
		if err := v[other.suite].Err; err != nil && other.algorithm == c.algorithm {
			return err
		}
	}
	return nil
}

// Probe asks the kernel. It tries a ring and a TCP connection for each
// cipher on the loopback interface, and closes all. Ciphers with which a test has
// failed are left alone. fixes are what the kernel has repaired besides those of its version. What the kernel refuses is in the
// report, not an error; an error means that no report could be made: ctx ended,
// or /proc could not be read.
//
// Setting a TLS key can wait, in the kernel, for a crypto driver's self-test.
// If ctx ends meanwhile, Probe returns its error at once, and a goroutine with
// two sockets stays behind until the kernel answers (it gives up after about a
// minute).
func Probe(ctx context.Context, rings *Rings, verdicts Verdicts, fixes KernelFixes) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	r, err := newReport()
	if err != nil {
		return nil, err
	}
	r.fixes = fixes
	r.IOURing = rings.Feature()
	answer := make(chan []tlsAnswer, 1)
	go func() { answer <- tlsSetup(ctx, verdicts) }()
	var answers []tlsAnswer
	select {
	case answers = <-answer:
	case <-ctx.Done():
		return nil, fmt.Errorf("platform: kernel TLS did not answer: %w", ctx.Err())
	}
	// Invariant: kernel TLS was tried, so the templates it uses exist.
	if err := r.readCrypto(); err != nil {
		return nil, err
	}
	r.setCiphers(answers, readTLSFacts(r.Kernel), verdicts)
	if r.IOURing.Usable && slices.ContainsFunc(r.Ciphers, r.mayDefer) {
		r.Sends = rings.Sends()
	}
	return r.Restricted(), nil
}

// MayWait tells whether setting up kernel TLS may wait for a crypto engine: one of
// the implementations that it may use, or use parts of, computes elsewhere, or they
// cannot be seen.
func MayWait() bool {
	all, err := readCrypto()
	return err != nil || len(all) == 0 || mayWait(all)
}

func mayWait(all []Algorithm) bool {
	return slices.ContainsFunc(all, func(a Algorithm) bool {
		// cryptd(__D), which is internal, is there for the sake of a D that computes inline.
		return a.Waits() && !a.Internal && (strings.Contains(a.Name, "aes") || strings.Contains(a.Name, "chacha20"))
	})
}

// Untestable says why kernel TLS must not encrypt, not even for a test, with the driver that the
// kernel picks for a cipher suite: it is asynchronous, or cannot be seen, and this kernel's version
// has a defect with such drivers that corrupts memory. It returns "" if a test does no harm.
//
// On such a kernel it sets kernel TLS up, since the kernel makes drivers of parts only then.
// That may wait for an engine that is dead.
func Untestable(ctx context.Context, suite uint16, fixes KernelFixes) string {
	r, err := newReport()
	if err != nil {
		return ""
	}
	r.fixes = fixes
	i := slices.IndexFunc(kernelCiphers, func(c kernelCipher) bool { return c.suite == suite })
	if i < 0 || r.untestable(suite) == "" { // its version is all that r has yet
		return ""
	}
	if a := tlsSetupWith(ctx, kernelCiphers[i]); a.step == stepULP || a.step == stepKey {
		return "" // the kernel does not take the cipher
	}
	if r.readCrypto() != nil {
		r.GCM, r.ChaCha20 = nil, nil // a driver that cannot be seen
	}
	return r.untestable(suite)
}

// newReport is what there is without a try of a ring and of kernel TLS.
func newReport() (*Report, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("platform: %w", os.NewSyscallError("uname", err))
	}
	r := &Report{
		Kernel:  unix.ByteSliceToString(uts.Release[:]),
		Build:   unix.ByteSliceToString(uts.Version[:]),
		Machine: unix.ByteSliceToString(uts.Machine[:]),
		AESInstructions: cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ ||
			cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || cpu.ARM.HasAES && cpu.ARM.HasPMULL,
	}
	return r, nil
}

// readCrypto fills in who computes the ciphers.
func (r *Report) readCrypto() error {
	all, err := readCrypto()
	known, nerr := readRegistered()
	r.Netlink = netlinkFeature(nerr)
	markHardware(all, known)
	r.GCM, r.CTR, r.ChaCha20 = named(all, gcmAES), named(all, ctrAES), named(all, chaCha20Poly1305)
	return err
}

// setCiphers explains the answers of tlsSetup. Where the kernel takes no cipher,
// the first one's reason is that of kernel TLS.
func (r *Report) setCiphers(answers []tlsAnswer, facts tlsFacts, verdicts Verdicts) {
	for i, c := range kernelCiphers {
		verdict, tested := verdicts[c.suite]
		f := tlsFeature(answers[i], c, facts)
		picked, _ := r.Picked(c.suite)
		switch {
		case answers[i].step == stepTest:
			f = r.quarantine(c, answers[i].err)
		case f.Usable && tested && verdict.Driver != picked.Driver:
			f = Feature{
				Inconclusive: true,
				Reason:       fmt.Sprintf("the kernel picks %s now, which has come while %s was tested", cmp.Or(picked.Driver, "none"), cmp.Or(verdict.Driver, "none")),
				Remedy:       "ask again",
			}
		}
		r.Ciphers = append(r.Ciphers, Cipher{
			Suite: c.suite, Name: tls.CipherSuiteName(c.suite), Feature: f,
			Verified: f.Usable && tested && verdict.Err == nil, Quarantined: answers[i].step == stepTest,
		})
		if i == 0 || f.Usable && !r.KernelTLS.Usable {
			r.KernelTLS = f
		}
	}
}

// quarantine explains why a cipher is not used that the kernel takes.
func (r *Report) quarantine(c kernelCipher, why error) Feature {
	who := "the kernel's " + c.algorithm
	if a, ok := r.Picked(c.suite); ok {
		who = a.Driver
	}
	f := Feature{
		Reason: fmt.Sprintf("the test of what %s encrypts has failed: %v", who, why),
		Remedy: "keep that driver from loading, or have it mended; `uringhttpd selftest` tests again",
	}
	if errors.Is(why, ErrNoAnswer) {
		f.Remedy = "reboot, which alone revives an engine that is dead; `uringhttpd selftest` tests again"
	}
	return f
}

// readCrypto reads /proc/crypto. A kernel without the file, or a process that
// may not see it (ProcSubset=pid), has no list; that is no error.
func readCrypto() ([]Algorithm, error) {
	f, err := os.Open("/proc/crypto")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	defer f.Close()
	return ParseCrypto(f)
}
