package service

import (
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"uringhttpd/config"
	"uringhttpd/ktls"
	"uringhttpd/platform"
	"uringhttpd/systemd"
)

// Opened is what a configuration names, opened.
type Opened struct {
	Root *os.Root
	// Folder is the same, opened as a file.
	Folder *os.File
	TLS    *tls.Config // nil if no listener has TLS
}

// Open opens the folder, certificates and keys that cfg names, and binds
// nothing. The error is of type config.Problems and holds all there are.
func Open(cfg *config.Config) (*Opened, error) {
	o := &Opened{}
	var problems config.Problems
	var err error
	if o.Root, err = os.OpenRoot(cfg.Root); err == nil {
		o.Folder, err = o.Root.Open(".")
	}
	if err != nil {
		problems = append(problems, cfg.Problem("root", "cannot be opened: "+cause(err), "the path of a folder that this user may read"))
	}
	for _, l := range cfg.Listen {
		if l.TLS && o.TLS == nil {
			var more config.Problems
			o.TLS, more = openTLS(cfg)
			problems = append(problems, more...)
		}
	}
	if len(problems) > 0 {
		o.Close()
		return nil, problems
	}
	return o, nil
}

// Close closes the folder.
func (o *Opened) Close() {
	if o.Root != nil {
		o.Root.Close()
	}
	if o.Folder != nil {
		o.Folder.Close()
	}
}

// cause is err without the operation and path that the caller's text has.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}

func openTLS(cfg *config.Config) (*tls.Config, config.Problems) {
	var problems config.Problems
	read := func(key, name, right string) []byte {
		path, err := systemd.CredentialPath(name)
		var data []byte
		if err == nil {
			data, err = os.ReadFile(path)
		}
		if err != nil {
			problems = append(problems, cfg.Problem(key, "cannot be read: "+cause(err), right))
		}
		return data
	}
	if cfg.TLS.Cipher == config.CipherChaCha20 && fips140.Enabled() {
		problems = append(problems, cfg.Problem("tls.cipher", "chacha20 does not exist in FIPS 140-3 mode, which is on",
			"aes-gcm or auto, or the program without fips140 in GODEBUG"))
	}
	t := &tls.Config{
		MinVersion: cfg.TLS.MinimumVersion,
		NextProtos: []string{"http/1.1", "http/1.0"}, // curl 7.88 to 8.4 offers the latter alone for --http1.0
	}
	if cfg.TLS.Kernel == config.KernelRequire {
		t.MinVersion = tls.VersionTLS13 // of TLS 1.2 it does not get resumed sessions
	}
	cert := read("tls.certificate", cfg.TLS.Certificate, "a PEM file that this user may read; `uringhttpd keygen` makes one")
	key := read("tls.key", cfg.TLS.Key, "the certificate's private key as a PEM file that this user may read")
	if cert != nil && key != nil {
		pair, err := tls.X509KeyPair(cert, key)
		switch {
		case err != nil && strings.Contains(err.Error(), "private key does not match"):
			problems = append(problems, cfg.Problem("tls.key", "does not belong to tls.certificate", "the private key that the certificate was made with"))
		case err != nil:
			problems = append(problems, cfg.Problem("tls.certificate", strings.TrimPrefix(err.Error(), "tls: "),
				"a PEM certificate, its chain after it, and its unencrypted PEM key in tls.key"))
		}
		t.Certificates = []tls.Certificate{pair}
	}
	if cfg.TLS.ClientCA != "" {
		const right = "a PEM file with the certificates of the authorities that sign clients"
		if pem := read("tls.client_ca", cfg.TLS.ClientCA, right); pem != nil {
			t.ClientCAs, t.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
			if !t.ClientCAs.AppendCertsFromPEM(pem) {
				problems = append(problems, cfg.Problem("tls.client_ca", "has no certificate in it", right))
			}
		}
	}
	return t, problems
}

// OpenListeners binds the addresses of cfg, all or none of them, and takes those
// that systemd passes.
func OpenListeners(cfg *config.Config) (listeners []*Listener, err error) {
	passed, err := systemd.Sockets()
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, files := range passed {
			for _, f := range files {
				f.Close()
			}
		}
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			listeners = nil
		}
	}()
	if address := cfg.Metrics.Address; address != "" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			wrong, right := bindFailure(address, err)
			return listeners, cfg.Problem("metrics.address", wrong, right)
		}
		ours, err := Listen(l.(*net.TCPListener), false)
		if err != nil {
			return listeners, err
		}
		ours.Metrics = true
		listeners = append(listeners, ours)
	}
	for i, want := range cfg.Listen {
		at := func(wrong, right string) error {
			return cfg.Problem(fmt.Sprintf("listen[%d].address", i), wrong, right)
		}
		name, fromSystemd := strings.CutPrefix(want.Address, config.SocketPrefix)
		if !fromSystemd {
			l, err := net.Listen("tcp", want.Address)
			if err != nil {
				return listeners, at(bindFailure(want.Address, err))
			}
			ours, err := Listen(l.(*net.TCPListener), want.TLS)
			if err != nil {
				return listeners, err
			}
			listeners = append(listeners, ours)
			continue
		}
		if len(passed[name]) == 0 {
			return listeners, at("systemd passed no socket of that name", "a socket unit with FileDescriptorName="+name+" and Service=uringhttpd.service")
		}
		for _, f := range passed[name] {
			l, err := net.FileListener(f)
			tl, isTCP := l.(*net.TCPListener)
			if err != nil || !isTCP {
				return listeners, at("the socket that systemd passed is not a listening TCP socket", "ListenStream= with a port in the socket unit")
			}
			ours, err := Listen(tl, want.TLS)
			if err != nil {
				return listeners, err
			}
			listeners = append(listeners, ours)
		}
	}
	return listeners, nil
}

// bindFailure says what is wrong with an address, and what would be right.
func bindFailure(address string, err error) (wrong, right string) {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens on " + address, "a free port, or the other program stopped; `ss -ltnp` shows which it is"
	case errors.Is(err, syscall.EACCES):
		return "this user may not listen on " + address, "a port above 1023, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return address + " is not an address of this machine", "one that `ip address` shows, or :PORT for all"
	}
	return err.Error(), "host:port"
}

// A Choice is how TLS connections will be served on this machine, and why.
type Choice struct {
	Offload bool        // to kernel TLS
	By      []Encryptor // who encrypts there, by cipher suite
	Prefer  ktls.Cipher // to be used first
	Reason  string      // one line, for a person
	Refused []string    // drivers that were found wrong
	Warning string      // the same, of a driver that is not trusted; "" if there is none
}

// Choose decides by the configuration and what the machine can do. The error
// says what is missing, and what to do about it.
func Choose(cfg *config.Config, report *platform.Report) (Choice, error) {
	if f := report.IOURing; !f.Usable {
		return Choice{}, fmt.Errorf("io_uring cannot be used: %s; %s", f.Reason, f.Remedy)
	}
	withTLS := false
	for _, l := range cfg.Listen {
		withTLS = withTLS || l.TLS
	}
	if !withTLS {
		return Choice{Reason: "no listener has TLS"}, nil
	}
	var c Choice
	distrusted := quarantined(report)
	switch f := report.KernelTLS; {
	case cfg.TLS.Kernel == config.KernelOff:
		distrusted = ""
		c.Reason = "kernel TLS is not used: tls.kernel is off"
	case cfg.TLS.Kernel == config.KernelRequire && distrusted != "":
		return Choice{}, fmt.Errorf("tls.kernel is require, and %s", distrusted)
	case f.Usable:
		c = Choice{Offload: true, By: encryptors(report)}
		c.Reason = "kernel TLS is used, with " + names(c.By)
		if err := missing(cfg, report); err != nil && cfg.TLS.Kernel == config.KernelRequire {
			return Choice{}, err
		}
	case cfg.TLS.Kernel == config.KernelRequire:
		return Choice{}, fmt.Errorf("kernel TLS cannot be used, and tls.kernel is require: %s; %s", f.Reason, f.Remedy)
	default:
		c.Reason = fmt.Sprintf("kernel TLS is not used: %s; %s", f.Reason, f.Remedy)
	}
	c.Warning = distrusted
	for _, e := range Verdicts(report) {
		if e.Err != nil && e.Driver != "" {
			c.Refused = append(c.Refused, e.Driver)
		}
	}
	var why string
	if c.Prefer, why = prefer(cfg, report, c.Offload); c.Prefer != ktls.AnyCipher {
		c.Reason += fmt.Sprintf("; %v is preferred: %s", c.Prefer, why)
	}
	return c, nil
}
