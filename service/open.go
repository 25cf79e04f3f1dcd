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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"uringhttpd/config"
	"uringhttpd/systemd"
)

// Opened holds the opened root and the TLS configuration of a config.Config. Close closes it.
type Opened struct {
	Root      *os.Root
	Directory *os.File        // Root, opened as a file
	TLS       *tls.Config     // nil if no listener has TLS
	Warnings  config.Problems // about the configuration and the files that it names
}

// Open opens the root, certificates and keys that cfg names. It does not bind
// addresses. An error is of type config.Problems and holds all problems; the
// Opened returned with it has only Warnings.
func Open(cfg *config.Config) (*Opened, error) { return open(cfg, false) }

// Check reports the problems that Open and the start of a Daemon would report, without keeping
// anything open or listening. Credentials that systemd passes only to the service, and
// addresses that this machine does not have at present, are warnings. An error is of type
// config.Problems. The summary is one line for a person.
func Check(cfg *config.Config) (summary string, warnings config.Problems, err error) {
	o, err := open(cfg, true)
	o.Close()
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return "", o.Warnings, err
	}
	warnings = o.Warnings
	all, more := addresses(cfg, net.DefaultResolver.LookupNetIP)
	problems = append(problems, more...)
	for _, a := range all {
		switch err := a.absent(); {
		case err == nil:
		case err.temporary:
			warnings = append(warnings, a.problem(cfg, err))
		default:
			problems = append(problems, a.problem(cfg, err))
		}
	}
	warnings.Sort()
	if len(problems) > 0 {
		problems.Sort()
		return "", warnings, problems
	}
	return summarize(cfg, o.TLS), warnings, nil
}

// summarize returns the listeners, root and TLS settings on one line.
func summarize(cfg *config.Config, t *tls.Config) string {
	var b strings.Builder
	for i, l := range cfg.Listen {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.Address)
		if l.TLS {
			b.WriteString(" (HTTPS)")
		} else {
			b.WriteString(" (HTTP)")
		}
	}
	if cfg.Metrics.Address != "" {
		b.WriteString(", " + cfg.Metrics.Address + " (metrics)")
	}
	b.WriteString(" serve " + cfg.Root)
	if t != nil {
		b.WriteString("; TLS " + strings.TrimPrefix(tls.VersionName(t.MinVersion), "TLS ") + " or later, tls.kernel " + string(cfg.TLS.Kernel))
		if t.ClientAuth == tls.RequireAndVerifyClientCert {
			b.WriteString(", client certificates required")
		}
	}
	return b.String()
}

func open(cfg *config.Config, checking bool) (*Opened, error) {
	o := &Opened{}
	found := findings{warnings: slices.Clone(cfg.Warnings)}
	if err := o.openRoot(cfg.Root); err != nil {
		problem := cfg.Problem("root", err.wrong, err.right)
		problem.Temporary = err.temporary
		found.problems = append(found.problems, problem)
	}
	for _, l := range cfg.Listen {
		if l.TLS && o.TLS == nil {
			o.TLS = openTLS(cfg, checking, &found)
		}
	}
	found.exposed(cfg)
	found.descriptors(cfg)
	found.warnings.Sort()
	o.Warnings = found.warnings
	if len(found.problems) > 0 {
		o.Close()
		found.problems.Sort()
		return &Opened{Warnings: o.Warnings}, found.problems
	}
	return o, nil
}

// exposed reports private files that clients could download.
func (f *findings) exposed(cfg *config.Config) {
	root, err := os.Stat(cfg.Root)
	if err != nil {
		return
	}
	if top, err := os.Stat("/"); err == nil && os.SameFile(root, top) {
		f.problems = append(f.problems, cfg.Problem("root", "is the whole file system, with all keys and settings of this machine", "name a directory that has only files that clients may download"))
		return
	}
	key, _ := systemd.CredentialPath(cfg.TLS.Key)
	if key != "" && below(root, key) {
		f.warnings = append(f.warnings, cfg.Problem("root", "contains the private key, so ANY CLIENT CAN DOWNLOAD tls.key, "+key, "move the key to another directory, and generate a new pair if others could reach the service"))
	}
	if certificate, _ := systemd.CredentialPath(cfg.TLS.Certificate); certificate != "" && certificate != key && below(root, certificate) {
		if file, err := readPEM(certificate); err == nil && slices.ContainsFunc(file.blocks, func(b pemBlock) bool { return isKeyLabel(b.label) }) {
			f.warnings = append(f.warnings, cfg.Problem("root", "contains a private key, so ANY CLIENT CAN DOWNLOAD the key in tls.certificate, "+certificate, "move that file to another directory, and generate a new pair if others could reach the service"))
		}
	}
	if file, err := filepath.Abs(cfg.File); err == nil && below(root, file) {
		f.warnings = append(f.warnings, cfg.Problem("root", "contains this configuration, so clients can download it", "move the configuration to another directory"))
	}
}

// descriptors warns if limits.connections needs more file descriptors than this process may
// open. The hard limit applies, since the Go runtime has raised the soft limit to it.
func (f *findings) descriptors(cfg *config.Config) {
	limit := openFiles()
	needed := uint64(cfg.Limits.Connections)*descriptorsEach + descriptorsBase
	if limit == 0 || needed <= limit {
		return
	}
	right := fmt.Sprintf("write LimitNOFILE=%d in the unit", needed)
	if limit >= descriptorsBase+descriptorsEach {
		right += fmt.Sprintf(", or at most %d connections", (limit-descriptorsBase)/descriptorsEach)
	}
	f.warnings = append(f.warnings, cfg.Problem("limits.connections",
		fmt.Sprintf("%d connections may need %d files, and this process may open %d (RLIMIT_NOFILE)", cfg.Limits.Connections, needed, limit), right))
}

const (
	descriptorsEach = 4  // per connection: its socket, both ends of a pipe, a file
	descriptorsBase = 64 // for the rest of the process
)

// below reports whether the file at path is in the directory root or below it,
// also if the path leads through links and mounts.
func below(root fs.FileInfo, path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil { // the file does not exist, or must not be accessed
		if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			path = filepath.Join(dir, filepath.Base(path))
		}
		real = path
	}
	for dir := filepath.Dir(real); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && os.SameFile(info, root) {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// openRoot opens the directory to serve. It opens nothing but a directory: opening a FIFO
// may block.
func (o *Opened) openRoot(path string) *fileError {
	const right = "write the path of a directory that this user may read"
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		return &fileError{wrong: path + " is not a directory", right: right}
	}
	if err == nil {
		o.Root, err = os.OpenRoot(path)
	}
	if err == nil {
		o.Directory, err = o.Root.Open(".")
	}
	if err == nil {
		return nil
	}
	e := unreadable(err)
	e.wrong = "cannot be opened: " + cause(err)
	if errors.Is(err, fs.ErrNotExist) {
		e.right = "create that directory, mount it, or name another"
	}
	return e
}

// Close closes Root and Directory.
func (o *Opened) Close() {
	if o.Root != nil {
		o.Root.Close()
	}
	if o.Directory != nil {
		o.Directory.Close()
	}
}

// cause returns the text of err without the operation, which the caller's text contains.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}

// openTLS makes the tls.Config of the section tls and reads its files.
func openTLS(cfg *config.Config, checking bool, found *findings) *tls.Config {
	r := &pemReader{cfg: cfg, now: time.Now(), checking: checking, findings: *found}
	defer func() { *found = r.findings }()
	if cfg.TLS.Cipher == config.CipherChaCha20 && fips140.Enabled() {
		r.problems = append(r.problems, cfg.Problem("tls.cipher", "chacha20 does not exist in FIPS 140-3 mode, which is on",
			"write aes-gcm or auto, or remove fips140 from GODEBUG"))
	}
	t := &tls.Config{
		MinVersion: cfg.TLS.MinimumVersion,
		NextProtos: []string{"http/1.1", "http/1.0"}, // curl 7.88 to 8.4 offers the latter alone for --http1.0
	}
	certificate := r.read("tls.certificate", cfg.TLS.Certificate)
	var key *pemFile
	if certificate != nil || cfg.TLS.Key != cfg.TLS.Certificate { // otherwise already reported
		key = r.read("tls.key", cfg.TLS.Key)
	}
	t.Certificates = []tls.Certificate{r.pair(certificate, key)}
	if cfg.TLS.ClientCA != "" {
		t.ClientAuth = tls.RequireAndVerifyClientCert
		t.ClientCAs = x509.NewCertPool()
		if file := r.read("tls.client_ca", cfg.TLS.ClientCA); file != nil {
			t.ClientCAs = r.authorities(file)
		}
	}
	return t
}

// read reads the PEM file that key names, or reports why it cannot be read and returns nil.
func (r *pemReader) read(key, name string) *pemFile {
	var file *pemFile
	path, err := systemd.CredentialPath(name)
	if err == nil {
		file, err = readPEM(path)
	}
	if err == nil {
		return file
	}
	if r.checking && errors.Is(err, systemd.ErrNoCredentials) {
		r.warnings = append(r.warnings, r.cfg.Problem(key, name+" is not checked, since systemd passes it to the service only",
			"check that the unit has LoadCredential="+strings.TrimPrefix(name, config.CredentialPrefix)+":/path/of/file"))
		return nil
	}
	var e *fileError
	if !errors.As(err, &e) {
		e = &fileError{wrong: cause(err), right: "name a PEM file, or a credential that the unit passes"}
	}
	right := e.right
	if e.temporary && key != "tls.client_ca" {
		right += "; `uringhttpd keygen` generates a pair"
	}
	problem := r.cfg.Problem(key, e.wrong, right)
	problem.Temporary = e.temporary || errors.Is(err, fs.ErrNotExist) // a credential that does not exist yet
	r.problems = append(r.problems, problem)
	return nil
}
