package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// Probe probes the kernel. It makes a ring, and a TCP connection over the loopback interface for
// each cipher, and closes them all. It does not set up ciphers whose test has failed according to
// verdicts. fixes are the defects that are fixed in this kernel although its version does not show
// it. A feature that the kernel refuses is part of the report, not an error; an error means that
// no report could be made, because ctx ended or /proc could not be read.
//
// Setting a TLS key can wait in the kernel for the kernel's self-test of a crypto driver.
// If ctx ends meanwhile, Probe returns its error at once, and a goroutine with two
// sockets remains until the kernel returns (it gives up after about a minute).
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
	go func() { answer <- probeSuites(ctx, verdicts) }()
	var answers []tlsAnswer
	select {
	case answers = <-answer:
	case <-ctx.Done():
		return nil, fmt.Errorf("platform: the probe of kernel TLS did not end: %w", ctx.Err())
	}
	// Invariant: kernel TLS was tried, so the template drivers that it uses exist.
	if err := r.readCrypto(); err != nil {
		return nil, err
	}
	r.setCiphers(answers, readTLSFacts(r.Kernel), verdicts)
	if r.IOURing.Usable && slices.ContainsFunc(r.Ciphers, r.mayBeAsync) {
		r.Sends = rings.Sends()
	}
	return r.Restricted(), nil
}

// Untestable returns the reason why kernel TLS must not encrypt, not even in a test, with the
// driver selected for a cipher suite: the driver is asynchronous or not visible, and this kernel
// version has a defect with such drivers that corrupts memory. It returns "" if a test does no
// harm.
//
// On a kernel with such a defect it sets kernel TLS up, since the kernel builds template drivers
// only then. The setup may wait for a dead engine.
func Untestable(ctx context.Context, suite uint16, fixes KernelFixes) string {
	r, err := newReport()
	if err != nil {
		return ""
	}
	r.fixes = fixes
	c, ok := ktls.SuiteOf(suite)
	if !ok || r.untestable(suite) == "" { // r has only the kernel version yet
		return ""
	}
	if a := probeSuite(ctx, c); a.step == stepULP || a.step == stepKey {
		return "" // the kernel does not accept the cipher
	}
	if r.readCrypto() != nil {
		r.GCM, r.ChaCha20 = nil, nil // no driver is visible
	}
	return r.untestable(suite)
}

// newReport returns a report without the probes of io_uring and kernel TLS.
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

// setCiphers explains the answers of probeSuites. If the kernel accepts no cipher, the
// reason of the first cipher is the reason of kernel TLS.
func (r *Report) setCiphers(answers []tlsAnswer, facts tlsFacts, verdicts Verdicts) {
	for i, c := range ktls.Suites() {
		verdict, tested := verdicts[c.ID]
		f := tlsFeature(answers[i], c, facts)
		selected, _ := r.Selected(c.ID)
		switch {
		case answers[i].step == stepTest:
			f = r.quarantine(c, answers[i].err)
		case f.Usable && tested && verdict.Driver != selected.Driver:
			f = Feature{
				Inconclusive: true,
				Reason:       fmt.Sprintf("the kernel selects %s now, which was registered while %s was tested", cmp.Or(selected.Driver, "none"), cmp.Or(verdict.Driver, "none")),
				Remedy:       "try again",
			}
		}
		r.Ciphers = append(r.Ciphers, Cipher{
			Suite: c.ID, Name: c.Name(), Feature: f,
			Verified: f.Usable && tested && verdict.Err == nil, Quarantined: answers[i].step == stepTest,
		})
		if i == 0 || f.Usable && !r.KernelTLS.Usable {
			r.KernelTLS = f
		}
	}
}

// quarantine explains why a cipher whose test has failed is not used.
func (r *Report) quarantine(c ktls.Suite, why error) Feature {
	driver := "the kernel's " + c.Algorithm
	if a, ok := r.Selected(c.ID); ok {
		driver = a.Driver
	}
	f := Feature{
		Reason: fmt.Sprintf("the self-test of %s failed: %v", driver, why),
		Remedy: "blacklist its module, or update the kernel; run `uringhttpd selftest` to test again",
	}
	if errors.Is(why, ErrTimeout) {
		f.Remedy = "reboot, since nothing else restarts a dead engine; run `uringhttpd selftest` to test again"
	}
	return f
}
