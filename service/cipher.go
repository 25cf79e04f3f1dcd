package service

import (
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/platform"
)

const (
	suiteGCM    = tls.TLS_AES_128_GCM_SHA256
	suiteGCM256 = tls.TLS_AES_256_GCM_SHA384
	suiteChaCha = tls.TLS_CHACHA20_POLY1305_SHA256
)

// prefer decides which cipher clients are offered first, and says why. offload:
// connections go to the kernel where it takes them.
func prefer(cfg *config.Config, report *platform.Report, offload bool) (c ktls.Cipher, why string) {
	switch {
	case cfg.TLS.Cipher == config.CipherAESGCM:
		return ktls.AESGCM, "tls.cipher is aes-gcm"
	case cfg.TLS.Cipher == config.CipherChaCha20:
		return ktls.ChaCha20Poly1305, "tls.cipher is chacha20"
	case fips140.Enabled():
		return ktls.AESGCM, "FIPS 140-3 mode has no other"
	case !offload:
		return ktls.AnyCipher, "" // crypto/tls encrypts, and knows what it is good at
	}
	if best, _, ok := fastest(cfg, report); ok && Undecided(cfg, report) {
		c, why = ktls.AESGCM, fmt.Sprintf("it is the fastest here, with %.0f MiB/s", best.MiBPerSecond)
		if best.Suite == suiteChaCha {
			c = ktls.ChaCha20Poly1305
		}
		return c, why
	}
	gcm, chacha := report.Takes(suiteGCM), report.Takes(suiteChaCha)
	engine, picked := report.Picked(suiteGCM)
	switch {
	case gcm && picked && engine.Engine():
		return ktls.AESGCM, "the kernel has an asynchronous engine for it"
	case gcm && chacha && unused(report) && accelerated(report):
		return ktls.ChaCha20Poly1305, "the kernel computes the other without the processor's AES instructions"
	case gcm && unused(report):
		return ktls.AESGCM, "the kernel has nothing faster, and does not use the processor's AES instructions"
	case gcm && report.AESInstructions:
		return ktls.AESGCM, "the processor has AES instructions"
	case gcm && !chacha:
		return ktls.AESGCM, "the kernel takes no other"
	case chacha && !gcm:
		return ktls.ChaCha20Poly1305, "the kernel takes no other"
	}
	return ktls.ChaCha20Poly1305, "there is neither an engine nor an AES instruction for the other"
}

// Undecided reports whether it takes a measurement (platform.Report.Speeds) to tell if kernel TLS
// or user space is faster: kernel TLS may be used, need not be, and would compute AES-GCM without
// the AES instructions that this program uses.
func Undecided(cfg *config.Config, report *platform.Report) bool {
	report = report.Restricted()
	withTLS := slices.ContainsFunc(cfg.Listen, func(l config.Listen) bool { return l.TLS })
	return withTLS && cfg.TLS.Kernel == config.KernelAuto && cfg.TLS.Cipher != config.CipherChaCha20 && report.KernelTLS.Usable && unused(report)
}

// fastest returns the fastest of the speeds that were measured, of those that the configuration
// allows: in the kernel, and in user space. ok is false if one is not known.
func fastest(cfg *config.Config, report *platform.Report) (inKernel, inUser platform.Speed, ok bool) {
	for _, s := range report.Speeds {
		best := &inUser
		if s.Kernel {
			best = &inKernel
		}
		if cfg.TLS.Cipher == config.CipherAESGCM && s.Suite == suiteChaCha || s.Kernel && !report.Takes(s.Suite) {
			continue
		}
		if best.MiBPerSecond == 0 || s.Better(*best) {
			*best = s
		}
	}
	return inKernel, inUser, inKernel.MiBPerSecond > 0 && inUser.MiBPerSecond > 0
}

// unused reports whether the kernel computes AES-GCM without the AES instructions that the
// processor has.
func unused(report *platform.Report) bool {
	a, picked := report.Picked(suiteGCM)
	return report.Takes(suiteGCM) && report.AESInstructions && picked && a.Plain()
}

// accelerated reports whether the kernel's ChaCha20-Poly1305 uses vector registers.
func accelerated(report *platform.Report) bool {
	a, picked := report.Picked(suiteChaCha)
	return picked && !a.PlainChaCha20()
}

// slow is a warning of an AES-GCM that the kernel computes without the processor's AES
// instructions; "" if it does not.
func slow(report *platform.Report) string {
	if !unused(report) {
		return ""
	}
	a, _ := report.Picked(suiteGCM)
	return fmt.Sprintf("the kernel computes AES-GCM without the processor's AES instructions, by %s: %s", a.Driver, report.Acceleration())
}

// An Encryptor is who encrypts in the kernel with a cipher suite.
type Encryptor struct {
	Suite     uint16 // of TLS 1.3; TLS 1.2's with the same cipher is his, too
	Algorithm string // of the crypto API; "" if /proc/crypto does not show it
	Driver    string // the same
	Async     bool   // it may wait for an engine
	Hardware  bool   // it is, or uses, an engine
	Verified  bool   // what it encrypts was tested, and right
	Inline    bool   // the kernel calls it asynchronous, and it encrypts in its caller (platform.Algorithm)
}

// encryptors are those of the suites that kernel TLS takes. One that /proc/crypto does not
// show is taken to be asynchronous: a send that leaves the loop for nothing costs little,
// one that waits in it holds up all.
func encryptors(report *platform.Report) []Encryptor {
	var all []Encryptor
	for _, c := range report.Ciphers {
		if !c.Usable {
			continue
		}
		a, ok := report.Picked(c.Suite)
		all = append(all, Encryptor{
			Suite: c.Suite, Algorithm: a.Name, Driver: a.Driver, Async: a.Waits() || !ok,
			Hardware: a.Hardware, Verified: c.Verified, Inline: a.Async && !a.Waits(),
		})
	}
	return all
}

// Verdicts tells, of a report that was made after a test, what it says of who encrypts.
func Verdicts(report *platform.Report) []Examined {
	var all []Examined
	right := encryptors(report)
	for _, c := range report.Ciphers {
		if i := slices.IndexFunc(right, func(e Encryptor) bool { return e.Suite == c.Suite }); i >= 0 {
			all = append(all, Examined{Encryptor: right[i]})
			continue
		}
		a, _ := report.Picked(c.Suite)
		e := Examined{Encryptor: Encryptor{Suite: c.Suite, Driver: a.Driver}}
		if !c.Inconclusive {
			e.Err = errors.New(c.Reason)
		}
		all = append(all, e)
	}
	return all
}

// String is as in "gcm(aes) by gcm-aes-caam (hardware, asynchronous, tested)".
func (e Encryptor) String() string {
	if e.Driver == "" {
		return tls.CipherSuiteName(e.Suite) + " by a driver that /proc/crypto does not show"
	}
	how := "synchronous"
	switch {
	case e.Async:
		how = "asynchronous"
	case e.Inline:
		how = "synchronous in system calls"
	}
	if e.Hardware {
		how = "hardware, " + how
	}
	if e.Verified {
		how += ", tested"
	}
	return fmt.Sprintf("%s by %s (%s)", e.Algorithm, e.Driver, how)
}

// quarantined names the ciphers that kernel TLS is not used with, since what it encrypts
// with them is wrong or does not come, or the kernel has a defect with their drivers, and
// why; "" if there are none.
func quarantined(report *platform.Report) string {
	var names []string
	var f platform.Feature
	for _, c := range report.Ciphers {
		if !c.Quarantined && !c.Defective {
			continue
		}
		names = append(names, c.Name)
		if f.Reason == "" {
			f = c.Feature
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("kernel TLS is not used with %s: %s; %s", strings.Join(names, ", "), f.Reason, f.Remedy)
}

// missing is why kernel TLS cannot be required with the cipher of the
// configuration; nil if it can.
func missing(cfg *config.Config, report *platform.Report) error {
	suite := map[config.Cipher]uint16{config.CipherAESGCM: suiteGCM, config.CipherChaCha20: suiteChaCha}[cfg.TLS.Cipher]
	for _, c := range report.Ciphers {
		if c.Suite == suite && !c.Usable {
			return fmt.Errorf("tls.kernel is require, and it does not take tls.cipher %s: %s; %s", cfg.TLS.Cipher, c.Reason, c.Remedy)
		}
	}
	return nil
}
