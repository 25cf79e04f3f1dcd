package offload

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/platform"
)

// preferredCipher returns the cipher that the server prefers, and the reason. offload reports
// whether connections use kernel TLS where the kernel accepts them.
func preferredCipher(cfg *config.Config, report *platform.Report, offload bool) (c ktls.Cipher, why string) {
	switch {
	case cfg.TLS.Cipher == config.CipherAESGCM:
		return ktls.AESGCM, "tls.cipher is aes-gcm"
	case cfg.TLS.Cipher == config.CipherChaCha20:
		return ktls.ChaCha20Poly1305, "tls.cipher is chacha20"
	case fips140.Enabled():
		return ktls.AESGCM, "FIPS 140-3 mode allows no other cipher"
	case !offload:
		return ktls.AnyCipher, "" // crypto/tls encrypts, and knows its own fastest cipher
	}
	if best, _, ok := fastestSpeeds(cfg, report); ok && NeedsMeasurement(cfg, report) {
		c, why = ktls.AESGCM, fmt.Sprintf("it was measured to be the fastest, with %.0f MiB/s", best.MiBPerSecond)
		if best.Suite == ktls.ChaCha20Poly1305.Suite() {
			c = ktls.ChaCha20Poly1305
		}
		return c, why
	}
	gcm, chacha := report.Supports(ktls.AESGCM.Suite()), report.Supports(ktls.ChaCha20Poly1305.Suite())
	engine, found := report.Selected(ktls.AESGCM.Suite())
	switch {
	case gcm && found && engine.Engine():
		return ktls.AESGCM, "the kernel has an asynchronous engine for it"
	case gcm && chacha && ignoresAESInstructions(report) && vectorChaCha20(report):
		return ktls.ChaCha20Poly1305, "the kernel would compute AES-GCM without the processor's AES instructions"
	case gcm && ignoresAESInstructions(report):
		return ktls.AESGCM, "the kernel has no faster cipher, although it does not use the processor's AES instructions"
	case gcm && report.AESInstructions:
		return ktls.AESGCM, "the processor has AES instructions"
	case gcm && !chacha:
		return ktls.AESGCM, "the kernel supports no other cipher"
	case chacha && !gcm:
		return ktls.ChaCha20Poly1305, "the kernel supports no other cipher"
	}
	return ktls.ChaCha20Poly1305, "neither an engine nor AES instructions would compute AES-GCM"
}

// NeedsMeasurement reports whether a measurement (platform.Report.Speeds) must decide between
// kernel TLS and user space: kernel TLS is usable but not required, and would compute AES-GCM
// without the AES instructions that this program uses.
func NeedsMeasurement(cfg *config.Config, report *platform.Report) bool {
	report = report.Restricted()
	withTLS := slices.ContainsFunc(cfg.Listen, func(l config.Listen) bool { return l.TLS })
	return withTLS && cfg.TLS.Kernel == config.KernelAuto && cfg.TLS.Cipher != config.CipherChaCha20 && report.KernelTLS.Usable && ignoresAESInstructions(report)
}

// fastestSpeeds returns the fastest measured speed in the kernel and in user space, among the
// ciphers that the configuration allows. ok is false if either is not known.
func fastestSpeeds(cfg *config.Config, report *platform.Report) (inKernel, inUser platform.Speed, ok bool) {
	for _, s := range report.Speeds {
		best := &inUser
		if s.Kernel {
			best = &inKernel
		}
		if cfg.TLS.Cipher == config.CipherAESGCM && s.Suite == ktls.ChaCha20Poly1305.Suite() || s.Kernel && !report.Supports(s.Suite) {
			continue
		}
		if best.MiBPerSecond == 0 || s.Better(*best) {
			*best = s
		}
	}
	return inKernel, inUser, inKernel.MiBPerSecond > 0 && inUser.MiBPerSecond > 0
}

// ignoresAESInstructions reports whether the kernel computes AES-GCM without the AES instructions of
// the processor.
func ignoresAESInstructions(report *platform.Report) bool {
	a, found := report.Selected(ktls.AESGCM.Suite())
	return report.Supports(ktls.AESGCM.Suite()) && report.AESInstructions && found && a.Plain()
}

// vectorChaCha20 reports whether the kernel's ChaCha20-Poly1305 uses vector registers.
func vectorChaCha20(report *platform.Report) bool {
	a, found := report.Selected(ktls.ChaCha20Poly1305.Suite())
	return found && !a.PlainChaCha20()
}

// slowWarning returns a warning that the kernel computes AES-GCM without the processor's AES
// instructions; "" if it uses them.
func slowWarning(report *platform.Report) string {
	if !ignoresAESInstructions(report) {
		return ""
	}
	a, _ := report.Selected(ktls.AESGCM.Suite())
	return fmt.Sprintf("the kernel computes AES-GCM without the processor's AES instructions, with the driver %s: %s", a.Driver, report.Acceleration())
}

// driversOf returns the drivers of the suites that kernel TLS accepts. A driver that /proc/crypto
// does not show counts as asynchronous: a send that leaves the loop without need costs little, but
// a send that waits in the loop delays all connections.
func driversOf(report *platform.Report) []Driver {
	var all []Driver
	for _, c := range report.Ciphers {
		if !c.Usable {
			continue
		}
		a, ok := report.Selected(c.Suite)
		all = append(all, Driver{
			Suite: c.Suite, Algorithm: a.Name, Name: a.Driver, Async: a.Waits() || !ok,
			Hardware: a.Hardware, Verified: c.Verified, Inline: a.Async && !a.Waits(),
		})
	}
	return all
}

// Results returns the outcome for each suite of a report that was made after a self-test.
func Results(report *platform.Report) []TestResult {
	var all []TestResult
	right := driversOf(report)
	for _, c := range report.Ciphers {
		if i := slices.IndexFunc(right, func(e Driver) bool { return e.Suite == c.Suite }); i >= 0 {
			all = append(all, TestResult{Driver: right[i]})
			continue
		}
		a, _ := report.Selected(c.Suite)
		e := TestResult{Driver: Driver{Suite: c.Suite, Name: a.Driver}}
		if !c.Inconclusive {
			e.Err = errors.New(c.Reason)
		}
		all = append(all, e)
	}
	return all
}

// quarantined names the ciphers that are not used with kernel TLS, and why: the self-test failed or
// got no result, or the kernel has a defect with their drivers. It returns "" if there are none.
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

// unsupportedCipher returns an error if kernel TLS does not accept the cipher of the
// configuration, and nil otherwise.
func unsupportedCipher(cfg *config.Config, report *platform.Report) error {
	cipher := map[config.Cipher]ktls.Cipher{config.CipherAESGCM: ktls.AESGCM, config.CipherChaCha20: ktls.ChaCha20Poly1305}[cfg.TLS.Cipher]
	for _, c := range report.Ciphers {
		if c.Suite == cipher.Suite() && !c.Usable {
			return fmt.Errorf("tls.kernel is require, but kernel TLS does not support tls.cipher %s: %s; %s", cfg.TLS.Cipher, c.Reason, c.Remedy)
		}
	}
	return nil
}

// A Choice says how this machine serves TLS connections, and why.
type Choice struct {
	Offload bool        // use kernel TLS
	Drivers []Driver    // cipher drivers of kernel TLS, by cipher suite
	Prefer  ktls.Cipher // preferred cipher
	Refused []string    // drivers whose self-test failed
	Warning string      // one line about drivers that are not trusted, or slow; "" if there is none

	plain        bool   // no listener has TLS
	notOffloaded string // why kernel TLS is not used; "" if it is
	preferredBy  string // why Prefer is preferred; "" for ktls.AnyCipher
	sources      string // of the report; "" if kernel TLS is switched off
}

// String returns the choice and its reasons in one line, for a person.
func (c Choice) String() string {
	if c.plain {
		return "no listener has TLS"
	}
	text := "kernel TLS is used, with " + Names(c.Drivers)
	if !c.Offload {
		text = "kernel TLS is not used: " + c.notOffloaded
	}
	if c.preferredBy != "" {
		text += fmt.Sprintf("; %v is preferred: %s", c.Prefer, c.preferredBy)
	}
	if c.sources != "" {
		text += "; known from " + c.sources
	}
	return text
}

// Log logs the choice, and its warning.
func (c Choice) Log(log *slog.Logger) {
	var args []any
	add := func(key, value string) {
		if value != "" {
			args = append(args, key, value)
		}
	}
	message := "kernel TLS is not used"
	switch {
	case c.plain:
		message = "no listener has TLS"
	case c.Offload:
		message = "kernel TLS is used"
		add("drivers", Names(c.Drivers))
	}
	add("reason", c.notOffloaded)
	if c.preferredBy != "" {
		add("preferred_cipher", c.Prefer.String())
		add("preferred_because", c.preferredBy)
	}
	add("sources", c.sources)
	log.Info(message, args...)
	if c.Warning != "" {
		log.Warn("kernel crypto drivers have problems", "reason", c.Warning)
	}
}

// Choose decides by the configuration and the report on the machine. The error names the missing
// feature and its remedy.
func Choose(cfg *config.Config, report *platform.Report) (Choice, error) {
	report = report.Restricted()
	if f := report.IOURing; !f.Usable {
		return Choice{}, fmt.Errorf("io_uring cannot be used: %s; %s", f.Reason, f.Remedy)
	}
	if !slices.ContainsFunc(cfg.Listen, func(l config.Listen) bool { return l.TLS }) {
		return Choice{plain: true}, nil
	}
	var c Choice
	distrusted := quarantined(report)
	f := report.KernelTLS
	switch {
	case cfg.TLS.Kernel == config.KernelOff:
		distrusted = ""
		c.notOffloaded = "tls.kernel is off"
	case cfg.TLS.Kernel == config.KernelRequire && distrusted != "":
		return Choice{}, fmt.Errorf("tls.kernel is require, but %s", distrusted)
	case f.Usable && slowerThanUserSpace(cfg, report) != "":
		c.notOffloaded = slowerThanUserSpace(cfg, report)
	case f.Usable:
		c.Offload, c.Drivers = true, driversOf(report)
		if err := unsupportedCipher(cfg, report); err != nil && cfg.TLS.Kernel == config.KernelRequire {
			return Choice{}, err
		}
	case cfg.TLS.Kernel == config.KernelRequire:
		return Choice{}, fmt.Errorf("tls.kernel is require, but kernel TLS cannot be used: %s; %s", f.Reason, f.Remedy)
	default:
		c.notOffloaded = f.Reason + "; " + f.Remedy
	}
	warnings := []string{distrusted}
	if cfg.TLS.Kernel != config.KernelOff && f.Usable && cfg.TLS.Cipher != config.CipherChaCha20 {
		warnings = append(warnings, slowWarning(report))
	}
	c.Warning = joinNonEmpty(warnings)
	for _, e := range Results(report) {
		if e.Err != nil && e.Name != "" {
			c.Refused = append(c.Refused, e.Name)
		}
	}
	c.Prefer, c.preferredBy = preferredCipher(cfg, report, c.Offload)
	if cfg.TLS.Kernel != config.KernelOff {
		c.sources = report.Sources()
	}
	return c, nil
}

// userSpaceMargin is the factor by which user space must be faster to be chosen: kernel TLS saves a
// copy that the measurement does not cover, and two measurements of the same may differ by 20 %.
const userSpaceMargin = 1.25

// slowerThanUserSpace returns a comparison of the measured speeds if kernel TLS is the slower of
// both. It returns "" if kernel TLS is not slower, or was not measured.
func slowerThanUserSpace(cfg *config.Config, report *platform.Report) string {
	inKernel, inUser, ok := fastestSpeeds(cfg, report)
	if !ok || !NeedsMeasurement(cfg, report) || inUser.MiBPerSecond < userSpaceMargin*inKernel.MiBPerSecond {
		return ""
	}
	return fmt.Sprintf("it is slower than user space on this machine, with %.0f against %.0f MiB/s", inKernel.MiBPerSecond, inUser.MiBPerSecond)
}

// joinNonEmpty joins the texts that are not empty, on one line.
func joinNonEmpty(texts []string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), "; ")
}
