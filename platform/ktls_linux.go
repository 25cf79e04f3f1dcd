package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"uringhttpd/ktls"
)

// tlsStep is the step that the probe of kernel TLS reached.
type tlsStep int

const (
	stepTest     tlsStep = iota // the earlier self-test of the driver
	stepLoopback                // making a TCP connection over loopback
	stepULP                     // setsockopt(TCP_ULP, "tls")
	stepKey                     // setsockopt(SOL_TLS, TLS_TX)
	stepDone
)

// tlsAnswer is the outcome of the probe for a cipher.
type tlsAnswer struct {
	step tlsStep // the step that failed with err, or stepDone
	err  error
}

// probeSuites switches kernel TLS on, with each of ktls.Suites, for one end of a connection over
// the loopback interface. It sends no byte, and the key is random and discarded. The
// answers are in the order of ktls.Suites.
func probeSuites(ctx context.Context, verdicts Verdicts) []tlsAnswer {
	suites := ktls.Suites()
	answers := make([]tlsAnswer, len(suites))
	for i, c := range suites {
		if err := verdicts.failure(c); err != nil {
			answers[i] = tlsAnswer{stepTest, err} // with a dead engine even the setup could wait forever
			continue
		}
		answers[i] = probeSuite(ctx, c)
	}
	return answers
}

func probeSuite(ctx context.Context, c ktls.Suite) tlsAnswer {
	err := ktls.Probe(ctx, c)
	var refused *ktls.OffloadError
	switch {
	case err == nil:
		return tlsAnswer{step: stepDone}
	case !errors.As(err, &refused):
		return tlsAnswer{stepLoopback, err}
	case refused.Option == ktls.OptionULP:
		return tlsAnswer{stepULP, refused.Err}
	}
	return tlsAnswer{stepKey, refused.Err}
}

// tlsModuleName is the name of the kernel module, and of the upper layer protocol (ULP).
const tlsModuleName = "tls"

// presence states whether a kernel module is loaded or installed.
type presence int

const (
	moduleAbsent  presence = iota // /lib/modules exists and does not list it
	moduleUnknown                 // /lib/modules cannot be read
	moduleOnDisk                  // can be loaded, is not loaded
	moduleLoaded                  // loaded, or built in
)

// tlsFacts are the facts that distinguish the causes of an errno.
type tlsFacts struct {
	module       presence
	option       kernelOption // CONFIG_TLS
	loadDisabled bool         // sysctl kernel.modules_disabled is 1
	process      status
}

func readTLSFacts(release string) tlsFacts {
	return tlsFacts{
		module:       tlsModule("/proc", "/sys", "/lib/modules/"+release),
		option:       readOption("/proc/config.gz", "/boot/config-"+release, "CONFIG_TLS"),
		loadDisabled: readInt("/proc/sys/kernel/modules_disabled", 0) == 1,
		process:      readStatus(),
	}
}

// tlsModule looks for the tls module. proc, sys and modules are the paths of proc,
// sysfs and the running kernel's modules.
func tlsModule(proc, sys, modules string) presence {
	loaded := false
	eachLine(filepath.Join(proc, "sys/net/ipv4/tcp_available_ulp"), func(line string) bool {
		for _, name := range strings.Fields(line) {
			loaded = loaded || name == tlsModuleName
		}
		return false
	})
	if !loaded {
		_, err := os.Stat(filepath.Join(sys, "module", tlsModuleName))
		loaded = err == nil
	}
	if loaded {
		return moduleLoaded
	}
	return onDisk(modules, tlsModuleName)
}

// onDisk looks for a module in the directory of the running kernel's modules.
func onDisk(modules, name string) presence {
	where := moduleUnknown
	eachLine(filepath.Join(modules, "modules.dep"), func(line string) bool {
		where = moduleAbsent
		path, _, _ := strings.Cut(line, ":")
		base, _, _ := strings.Cut(filepath.Base(path), ".") // tls.ko, tls.ko.xz, tls.ko.zst
		if strings.ReplaceAll(base, "-", "_") == name {
			where = moduleOnDisk
			return false
		}
		return true
	})
	return where
}

// tlsFeature explains an answer. The errnos are those of tcp_set_ulp() in
// net/ipv4/tcp_ulp.c and do_tls_setsockopt_conf() in net/tls/tls_main.c.
func tlsFeature(a tlsAnswer, c ktls.Suite, f tlsFacts) Feature {
	var errno unix.Errno
	errors.As(a.err, &errno)
	switch a.step {
	case stepDone:
		return Feature{Usable: true}
	case stepULP:
		return ulpFeature(errno, f)
	case stepKey:
		return keyFeature(errno, c)
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("could not connect over the loopback interface to test it: %v", a.err),
		Remedy:       "bring the interface lo up, and allow AF_INET in RestrictAddressFamilies= of the unit",
	}
}

const (
	loadRemedy  = "run modprobe tls, and add tls to a file in /etc/modules-load.d/ so that it is loaded at each boot"
	buildRemedy = "build the kernel with CONFIG_TLS=m or y"
)

func ulpFeature(errno unix.Errno, f tlsFacts) Feature {
	switch errno {
	case unix.ENOENT:
		return moduleMissing(f)
	case unix.ENOPROTOOPT:
		return Feature{
			Reason: "the kernel does not support TCP_ULP: it is older than Linux 4.13, or emulated",
			Remedy: "use Linux 6.1 or later, built with CONFIG_TLS=m or y",
		}
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("setsockopt(TCP_ULP, \"tls\") failed with %v (%s)", errno, unix.ErrnoName(errno)),
		Remedy:       "search the kernel's log (dmesg) for the cause",
	}
}

// moduleMissing explains ENOENT: the kernel has no ULP named tls, and did not load
// the module. It loads it automatically only for CAP_NET_ADMIN.
func moduleMissing(f tlsFacts) Feature {
	switch {
	case f.option == optionNo && f.module != moduleLoaded && f.module != moduleOnDisk:
		return Feature{Reason: "the kernel was built without CONFIG_TLS", Remedy: buildRemedy}
	case f.option == optionModule && f.module == moduleAbsent:
		return Feature{
			Reason: "the tls module was built (CONFIG_TLS=m), but is not installed",
			Remedy: "install the kernel's modules; with the Yocto Project, the package kernel-module-tls",
		}
	}
	switch f.module {
	case moduleAbsent:
		return Feature{Reason: "the kernel was built without CONFIG_TLS: the tls module is neither built in nor installed", Remedy: buildRemedy}
	case moduleOnDisk:
		if f.loadDisabled {
			return Feature{
				Reason: "the tls module is not loaded, and the sysctl kernel.modules_disabled forbids loading modules until the next boot",
				Remedy: "add tls to a file in /etc/modules-load.d/, and reboot",
			}
		}
		if f.process.has(capNetAdmin) {
			return Feature{
				Reason: "the tls module is installed, but the kernel failed to load it",
				Remedy: "run modprobe tls (in a container, on the host), and read its error and the kernel's log",
			}
		}
		return Feature{
			Reason: "the tls module is not loaded, and the kernel loads it automatically only for a process with CAP_NET_ADMIN",
			Remedy: loadRemedy,
		}
	case moduleLoaded:
		return Feature{
			Inconclusive: true,
			Reason:       "the tls module was loaded during the probe",
			Remedy:       "try again",
		}
	}
	return Feature{
		Reason: "the tls module is not loaded, and the kernel's modules are not visible to this process",
		Remedy: loadRemedy + "; if there is no such module, " + buildRemedy,
	}
}

// cipherOptions returns the options of the kernel's configuration that a suite needs.
func cipherOptions(c ktls.Suite) string {
	if c.Cipher == ktls.ChaCha20Poly1305 {
		return "CONFIG_CRYPTO_CHACHA20POLY1305"
	}
	return "CONFIG_CRYPTO_GCM and CONFIG_CRYPTO_AES"
}

func keyFeature(errno unix.Errno, c ktls.Suite) Feature {
	switch errno {
	case unix.ENOENT:
		return Feature{
			Reason: "the kernel has no " + c.Algorithm + ", which encrypts the records",
			Remedy: "build the kernel with " + cipherOptions(c) + " (m or y), and install the modules with it",
		}
	case unix.ELIBBAD:
		return Feature{
			Reason: "every " + c.Algorithm + " of the kernel failed the kernel's self-test",
			Remedy: "find the driver that failed in the \"alg: \" lines of the kernel's log, and blacklist its module",
		}
	case unix.EINVAL, unix.ENOTSUP:
		return Feature{
			Reason: "kernel TLS does not support " + c.Name() + ": the kernel is older than Linux 5.11",
			Remedy: "use Linux 6.1 or later",
		}
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("setsockopt(SOL_TLS, TLS_TX) failed with %v (%s)", errno, unix.ErrnoName(errno)),
		Remedy:       "search the kernel's log (dmesg) for the cause",
	}
}
