package platform

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopbackTimeout bounds setting up the probe's own connection.
const loopbackTimeout = 5 * time.Second

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

// kernelCipher is a cipher that kernel TLS may accept.
type kernelCipher struct {
	suite      uint16 // cipher suite of TLS 1.3
	cipherType uint16
	size       int    // bytes of the argument of TLS_TX
	algorithm  string // name in the crypto API
	options    string // options of the kernel's configuration
}

var kernelCiphers = []kernelCipher{
	{tls.TLS_AES_128_GCM_SHA256, cipherAESGCM128, sizeofAESGCM128, gcmAES, "CONFIG_CRYPTO_GCM and CONFIG_CRYPTO_AES"},
	{tls.TLS_AES_256_GCM_SHA384, cipherAESGCM256, sizeofAESGCM256, gcmAES, "CONFIG_CRYPTO_GCM and CONFIG_CRYPTO_AES"},
	{tls.TLS_CHACHA20_POLY1305_SHA256, cipherChaCha20Poly1305, sizeofChaCha20Poly1305, chaCha20Poly1305, "CONFIG_CRYPTO_CHACHA20POLY1305"},
}

// tlsSetup switches kernel TLS on, with each cipher, for one end of a connection over
// the loopback interface. It sends no byte, and the key is random and discarded. The
// answers are in the order of kernelCiphers.
func tlsSetup(ctx context.Context, verdicts Verdicts) []tlsAnswer {
	answers := make([]tlsAnswer, len(kernelCiphers))
	for i, c := range kernelCiphers {
		if err := verdicts.wrong(c); err != nil {
			answers[i] = tlsAnswer{stepTest, err} // with a dead engine even the setup could wait forever
			continue
		}
		answers[i] = tlsSetupWith(ctx, c)
	}
	return answers
}

func tlsSetupWith(ctx context.Context, c kernelCipher) tlsAnswer {
	client, server, err := loopback(ctx)
	if err != nil {
		return tlsAnswer{stepLoopback, err}
	}
	defer client.Close()
	defer server.Close()

	raw, err := server.SyscallConn()
	if err != nil {
		return tlsAnswer{stepLoopback, err}
	}
	answer := tlsAnswer{step: stepDone}
	err = raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptString(int(fd), unix.SOL_TCP, unix.TCP_ULP, ulpTLS); err != nil {
			answer = tlsAnswer{stepULP, err}
			return
		}
		if err := setThrowAwayKey(int(fd), c); err != nil {
			answer = tlsAnswer{stepKey, err}
		}
	})
	if err != nil {
		return tlsAnswer{stepLoopback, err}
	}
	return answer
}

func setThrowAwayKey(fd int, c kernelCipher) error {
	value := make([]byte, c.size)
	rand.Read(value) // never fails (crypto/rand, since Go 1.24)
	info := cryptoInfo{version: tls13Version, cipherType: c.cipherType}
	binary.NativeEndian.PutUint16(value[unsafe.Offsetof(info.version):], info.version)
	binary.NativeEndian.PutUint16(value[unsafe.Offsetof(info.cipherType):], info.cipherType)
	return unix.SetsockoptString(fd, solTLS, tlsTX, string(value))
}

// listenLoopback listens on the loopback interface, IPv4 or else IPv6, for plain TCP. Go
// listens for MPTCP by default, and an MPTCP socket does not support kernel TLS.
func listenLoopback(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		var err6 error
		if l, err6 = lc.Listen(ctx, "tcp", "[::1]:0"); err6 != nil {
			return nil, errors.Join(err, err6)
		}
	}
	return l, nil
}

// loopback returns the two ends of a new TCP connection over the loopback
// interface, IPv4 or else IPv6.
func loopback(ctx context.Context) (client, server *net.TCPConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, loopbackTimeout)
	defer cancel()
	l, err := listenLoopback(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := l.(*net.TCPListener).SetDeadline(deadline); err != nil {
			return nil, nil, err
		}
	}
	var d net.Dialer
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	// The peer may be another process of this machine that connected first. That does
	// no harm, since nothing is sent.
	s, err := l.Accept()
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c.(*net.TCPConn), s.(*net.TCPConn), nil
}

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
			loaded = loaded || name == ulpTLS
		}
		return false
	})
	if !loaded {
		_, err := os.Stat(filepath.Join(sys, "module", ulpTLS))
		loaded = err == nil
	}
	if loaded {
		return moduleLoaded
	}
	return onDisk(modules, ulpTLS)
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
func tlsFeature(a tlsAnswer, c kernelCipher, f tlsFacts) Feature {
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
		Reason:       fmt.Sprintf("no TCP connection over the loopback interface to try it on: %v", a.err),
		Remedy:       "bring the interface lo up, and allow AF_INET in RestrictAddressFamilies= of the unit",
	}
}

const (
	loadRemedy  = "modprobe tls, and the word tls in a file of /etc/modules-load.d/ for the next start"
	buildRemedy = "build the kernel with CONFIG_TLS=m or y"
)

func ulpFeature(errno unix.Errno, f tlsFacts) Feature {
	switch errno {
	case unix.ENOENT:
		return moduleMissing(f)
	case unix.ENOPROTOOPT:
		return Feature{
			Reason: "the kernel knows no TCP_ULP: it is older than Linux 4.13, or something emulates it",
			Remedy: "use Linux 6.1 or later, built with CONFIG_TLS=m or y",
		}
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("setsockopt(TCP_ULP, \"tls\") answered %v (%s)", errno, unix.ErrnoName(errno)),
		Remedy:       "look at the kernel's log (dmesg) for what refused it",
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
			Reason: "the tls module was built with the kernel (CONFIG_TLS=m), and is not installed",
			Remedy: "install the kernel's modules; with the Yocto Project, the package kernel-module-tls",
		}
	}
	switch f.module {
	case moduleAbsent:
		return Feature{Reason: "the kernel was built without CONFIG_TLS: it has no tls module, built in or to load", Remedy: buildRemedy}
	case moduleOnDisk:
		if f.loadDisabled {
			return Feature{
				Reason: "the tls module is not loaded, and the sysctl kernel.modules_disabled forbids loading any until the next start",
				Remedy: "the word tls in a file of /etc/modules-load.d/, and restart the machine",
			}
		}
		if f.process.has(capNetAdmin) {
			return Feature{
				Reason: "the tls module is there, but the kernel failed to load it",
				Remedy: "modprobe tls and read its complaint (in a container, on the host), and the kernel's log",
			}
		}
		return Feature{
			Reason: "the tls module is not loaded, and the kernel loads it by itself only for a process with CAP_NET_ADMIN",
			Remedy: loadRemedy,
		}
	case moduleLoaded:
		return Feature{
			Inconclusive: true,
			Reason:       "the tls module was not loaded a moment ago, and now is",
			Remedy:       "ask again",
		}
	}
	return Feature{
		Reason: "the tls module is not loaded, and the kernel's modules are not to be seen from here",
		Remedy: loadRemedy + "; if there is no such module, " + buildRemedy,
	}
}

func keyFeature(errno unix.Errno, c kernelCipher) Feature {
	switch errno {
	case unix.ENOENT:
		return Feature{
			Reason: "the kernel has no " + c.algorithm + ", the cipher of the records",
			Remedy: "build the kernel with " + c.options + " (m or y), and install the modules with it",
		}
	case unix.ELIBBAD:
		return Feature{
			Reason: "every " + c.algorithm + " of the kernel failed the kernel's self-test",
			Remedy: "see \"alg: \" lines in the kernel's log for the driver at fault, and keep it from loading",
		}
	case unix.EINVAL, unix.ENOTSUP:
		return Feature{
			Reason: "the kernel's TLS does not take " + tls.CipherSuiteName(c.suite) + ": it is older than Linux 5.11",
			Remedy: "use Linux 6.1 or later",
		}
	}
	return Feature{
		Inconclusive: true,
		Reason:       fmt.Sprintf("setsockopt(SOL_TLS, TLS_TX) answered %v (%s)", errno, unix.ErrnoName(errno)),
		Remedy:       "look at the kernel's log (dmesg) for what refused it",
	}
}
