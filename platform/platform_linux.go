package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Report is what this machine and its kernel can do.
type Report struct {
	Kernel    string  `json:"kernel"`     // release, as uname -r prints it
	Machine   string  `json:"machine"`    // hardware name, as uname -m prints it
	IOURing   Feature `json:"io_uring"`   // io_uring with SINGLE_ISSUER and DEFER_TASKRUN
	KernelTLS Feature `json:"kernel_tls"` // sending TLS 1.3 with AES-128-GCM from the kernel

	// GCM lists every gcm(aes) in /proc/crypto. Those that the kernel may
	// pick come first, by falling priority, so that GCM[0] is the one it picks
	// (see [Report.Picked]); those it may not (internal, or not passed by the
	// kernel's self-test) follow.
	GCM []Algorithm `json:"gcm"`
}

// Picked returns the gcm(aes) that a kernel TLS connection set up now would
// use, and false if the kernel has none that it may use. Where KernelTLS is not
// usable, a module not loaded yet may still bring a better one.
func (r *Report) Picked() (Algorithm, bool) {
	if len(r.GCM) == 0 || !r.GCM[0].eligible() {
		return Algorithm{}, false
	}
	return r.GCM[0], true
}

// Feature is the answer to: can this process, now, use it?
type Feature struct {
	Usable       bool   `json:"usable"`
	Inconclusive bool   `json:"inconclusive,omitempty"` // the question could not be put; Usable is false, ask again
	Reason       string `json:"reason,omitempty"`       // why not, one line in plain words; empty if usable
	Remedy       string `json:"remedy,omitempty"`       // what to do about it, one line; empty if usable
}

// Probe asks the kernel. It sets up one small ring and one TCP connection
// on the loopback interface and closes both. What the kernel refuses is in the
// report, not an error; an error means that no report could be made: ctx ended,
// or /proc could not be read.
//
// Setting a TLS key can wait, in the kernel, for a crypto driver's self-test.
// If ctx ends meanwhile, Probe returns its error at once, and a goroutine with
// two sockets stays behind until the kernel answers (it gives up after about a
// minute).
func Probe(ctx context.Context) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("platform: %w", os.NewSyscallError("uname", err))
	}
	r := &Report{
		Kernel:  unix.ByteSliceToString(uts.Release[:]),
		Machine: unix.ByteSliceToString(uts.Machine[:]),
	}

	r.IOURing = uringFeature(uringSetup(), readUringFacts())

	answer := make(chan tlsAnswer, 1)
	go func() { answer <- tlsSetup(ctx) }()
	select {
	case a := <-answer:
		r.KernelTLS = tlsFeature(a, readTLSFacts(r.Kernel))
	case <-ctx.Done():
		return nil, fmt.Errorf("platform: kernel TLS did not answer: %w", ctx.Err())
	}

	// Invariant: kernel TLS was tried, so the templates it uses exist.
	all, err := readCrypto()
	if err != nil {
		return nil, err
	}
	r.GCM = gcm(all)
	return r, nil
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
