package service

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"uringhttpd/config"
)

const (
	// maxFileProblems is the largest number of problems reported for one file.
	maxFileProblems = 8

	// minRSABits is the smallest size of a server's key that current clients accept (security
	// level 2 of OpenSSL). Below minSignerBits crypto/rsa does not check a signature.
	minRSABits    = 2048
	minSignerBits = 1024
)

// A pemReader collects the problems of the files of one configuration.
type pemReader struct {
	findings
	cfg      *config.Config
	now      time.Time
	checking bool // for a report only: credentials may be inaccessible
}

// findings are the problems and the warnings of a configuration.
type findings struct {
	problems, warnings config.Problems
}

// A pemRole is a file and the key of the configuration that names it.
type pemRole struct {
	key   string
	file  *pemFile
	count int // number of problems of the file
}

// problem reports a problem of the role's file at the position where.
func (r *pemReader) problem(role *pemRole, where, wrong, right string) {
	if role.count++; role.count > maxFileProblems {
		return
	}
	if role.count == maxFileProblems {
		where, wrong, right = role.file.path, "has more errors", "correct those above first"
	}
	r.problems = append(r.problems, r.cfg.Problem(role.key, where+" "+wrong, right))
}

func (r *pemReader) warn(role *pemRole, where, wrong, right string) {
	if len(r.warnings) < 4*maxFileProblems {
		r.warnings = append(r.warnings, r.cfg.Problem(role.key, where+" "+wrong, right))
	}
}

// at returns the position of a block, for use in a problem.
func (f *pemFile) at(b pemBlock) string {
	return fmt.Sprintf("%s:%d: block %d", f.path, b.line, b.number)
}

// pair returns the key pair of tls.certificate and tls.key. Either file is nil if it could not
// be read; both may be the same file. If a part is missing or unusable, the result is empty.
func (r *pemReader) pair(certificate, key *pemFile) tls.Certificate {
	same := certificate != nil && key != nil && os.SameFile(certificate.info, key.info)
	var chain []chainLink
	var private crypto.Signer
	if certificate != nil {
		role := &pemRole{key: "tls.certificate", file: certificate}
		r.faults(role, func(label string) bool { return !same || !isKeyLabel(label) })
		chain = r.chain(role)
	}
	if key != nil {
		role := &pemRole{key: "tls.key", file: key}
		r.faults(role, func(label string) bool { return !same || isKeyLabel(label) })
		private = r.privateKey(role, same)
		if key.info.Mode().Perm()&0o007 != 0 {
			r.warn(role, key.path, fmt.Sprintf("can be read or changed by all users (mode %04o)", key.info.Mode().Perm()),
				"run chmod 0640 on it, and chgrp to the service's group")
		}
	}
	if private != nil && (len(chain) == 0 || !samePublic(private, chain[0])) { // otherwise reported for the certificate
		if why := unusableKey(private.Public(), minRSABits); why != "" {
			r.problem(&pemRole{key: "tls.key", file: key}, key.path, why, usableKey)
			return tls.Certificate{}
		}
	}
	if len(chain) == 0 || private == nil {
		return tls.Certificate{}
	}
	r.matching(&pemRole{key: "tls.certificate", file: certificate}, &pemRole{key: "tls.key", file: key}, chain, private)
	pair := tls.Certificate{PrivateKey: private, Leaf: chain[0].Certificate}
	for _, link := range chain {
		pair.Certificate = append(pair.Certificate, link.Raw)
	}
	return pair
}

// faults reports the faults of the file in blocks whose label meant accepts.
func (r *pemReader) faults(role *pemRole, meant func(label string) bool) {
	for _, f := range role.file.faults {
		if meant(f.label) {
			r.problem(role, fmt.Sprintf("%s:%d: block %d", role.file.path, f.line, f.number), f.wrong, f.right)
		}
	}
}

// A chainLink is a certificate with its position in the file.
type chainLink struct {
	*x509.Certificate
	at     string
	number int  // of the block
	gap    bool // the block before it cannot be read
}

// chain reads the server's certificate and its chain of issuers, and reports their problems.
func (r *pemReader) chain(role *pemRole) []chainLink {
	links := r.certificates(role, true)
	if len(links) == 0 {
		return nil
	}
	leaf := links[0]
	if leaf.gap {
		return nil
	}
	if why := unusable(leaf.Certificate, minRSABits); why != "" {
		r.problem(role, leaf.at, why, usableKey)
	}
	r.dates(role, links)
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		r.warn(role, leaf.at, "has no name or address of this server (subjectAltName), so clients that check it reject it", "issue it again with the names that clients use")
	}
	if usages := len(leaf.ExtKeyUsage) + len(leaf.UnknownExtKeyUsage); usages > 0 &&
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		r.warn(role, leaf.at, "is not for a TLS server (extendedKeyUsage without serverAuth), so clients reject it", "issue it again with serverAuth")
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		r.warn(role, leaf.at, "may not sign (keyUsage without digitalSignature), so clients reject it", "issue it again with digitalSignature")
	}
	for i := range len(links) - 1 {
		child, parent := links[i], links[i+1]
		if parent.gap {
			continue
		}
		if why := unusable(parent.Certificate, minSignerBits); why != "" {
			r.problem(role, parent.at, why, usableKey)
			continue
		}
		r.signedBy(role, child, parent)
	}
	return links
}

// signedBy reports a problem unless parent, the next certificate in the file, issued child.
func (r *pemReader) signedBy(role *pemRole, child, parent chainLink) {
	const order = "put each certificate's issuer behind it, and nothing else"
	switch {
	case bytes.Equal(child.Raw, parent.Raw):
		r.problem(role, parent.at, fmt.Sprintf("is the certificate of block %d again", child.number), "remove it")
		return
	case !bytes.Equal(child.RawIssuer, parent.RawSubject):
		r.problem(role, parent.at, fmt.Sprintf("is %s, but the certificate of block %d before it was issued by %s", name(parent.Subject), child.number, name(child.Issuer)), order)
		return
	}
	err := parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature)
	var insecure x509.InsecureAlgorithmError
	switch {
	case errors.As(err, &insecure):
		r.warn(role, child.at, fmt.Sprintf("is signed with %v, which clients reject", child.SignatureAlgorithm), "issue it again with SHA-256")
	case err != nil:
		r.problem(role, parent.at, fmt.Sprintf("has the name of the issuer of block %d, but did not sign it (%s)", child.number, trimmed(err)), order)
		return
	}
	if !isAuthority(parent.Certificate) {
		r.problem(role, parent.at, fmt.Sprintf("signed the certificate of block %d, but is not a certificate authority (basicConstraints)", child.number), "put the issuing authority's certificate there")
	}
	if parent.KeyUsage != 0 && parent.KeyUsage&x509.KeyUsageCertSign == 0 {
		r.warn(role, parent.at, "may not sign certificates (keyUsage without keyCertSign), so clients reject the chain", "issue it again with keyCertSign")
	}
}

// isAuthority reports whether c may sign certificates. A certificate below version 3 has no
// such field and counts as an authority.
func isAuthority(c *x509.Certificate) bool {
	return c.Version < 3 || c.BasicConstraintsValid && c.IsCA
}

// dates warns about certificates that are expired or not valid yet, which clients with a
// correct clock reject. It is only a warning, since the clock of the board may be wrong.
func (r *pemReader) dates(role *pemRole, links []chainLink) {
	const clock = "renew it, or set the clock if that is wrong"
	now := r.now.UTC().Format(time.DateTime)
	for _, c := range links {
		switch {
		case r.now.After(c.NotAfter):
			r.warn(role, c.at, fmt.Sprintf("has expired: it was valid until %s, and the clock shows %s", c.NotAfter.UTC().Format(time.DateTime), now), clock)
		case r.now.Before(c.NotBefore):
			r.warn(role, c.at, fmt.Sprintf("is not valid yet: it is valid from %s, and the clock shows %s", c.NotBefore.UTC().Format(time.DateTime), now), clock)
		}
	}
}

// certificates returns the certificates of a file and reports unexpected blocks. If withKey is
// true, the file may also hold a private key.
func (r *pemReader) certificates(role *pemRole, withKey bool) []chainLink {
	var links []chainLink
	broken, gap := len(role.file.faults) > 0, false
	held := ""
	for _, b := range role.file.blocks {
		at := role.file.at(b)
		switch {
		case b.label == "": // reported as a fault
			gap = true
		case harmless(b.label):
		case isKeyLabel(b.label):
			held = fmt.Sprintf("a private key in block %d", b.number)
			if !withKey {
				r.warn(role, at, "is a private key", "remove it: it is not needed here")
			}
		case !isCertificateLabel(b.label):
			broken, gap = true, true
			r.problem(role, at, "is "+kindOf(b.label)+", not a certificate", remedies[b.label].orElse("remove it, or put a certificate there"))
		case b.der == nil: // reported as a fault
			gap = true
		default:
			c, err := x509.ParseCertificate(b.der)
			if err != nil {
				broken, gap = true, true
				r.problem(role, at, "cannot be parsed as a certificate: "+trimmed(err), "copy the file again, or issue the certificate again")
				continue
			}
			links = append(links, chainLink{c, at, b.number, gap})
			gap = false
		}
	}
	if len(links) == 0 && !broken {
		wrong := "has no certificate"
		if held != "" {
			wrong += ", but " + held
		}
		r.problem(role, role.file.path, wrong, "name the file with the certificate")
	}
	return links
}

// privateKey returns the only private key of a file. shared is true if the file also holds the
// certificates; then unexpected blocks have already been reported.
func (r *pemReader) privateKey(role *pemRole, shared bool) crypto.Signer {
	const right = "name the unencrypted private key that the certificate was made with"
	var key crypto.Signer
	keys := 0
	broken := len(role.file.faults) > 0
	held := ""
	for _, b := range role.file.blocks {
		at := role.file.at(b)
		switch {
		case b.label == "" || harmless(b.label):
			continue
		case isCertificateLabel(b.label):
			held = fmt.Sprintf("a certificate in block %d", b.number)
			continue
		case !isKeyLabel(b.label):
			if !shared {
				broken = true
				r.problem(role, at, "is "+kindOf(b.label)+", not a private key", remedies[b.label].orElse(right))
			}
			continue
		}
		if keys++; keys > 1 {
			r.problem(role, at, "is a second private key", "keep the one that belongs to the certificate")
			continue
		}
		switch {
		case b.encrypted || b.label == "ENCRYPTED PRIVATE KEY":
			broken = true
			r.problem(role, at, "is encrypted, and the service cannot ask for its passphrase", "decrypt it with `openssl pkey`, and restrict the file's mode")
		case b.label == "OPENSSH PRIVATE KEY":
			broken = true
			r.problem(role, at, "is a private key in OpenSSH's format", "convert it with `ssh-keygen -p -m PKCS8`")
		case b.label == "DSA PRIVATE KEY":
			broken = true
			r.problem(role, at, "is a private key of DSA, which TLS cannot use", usableKey)
		case b.der == nil: // reported as a fault
		default:
			k, err := parseKey(b.der)
			if err != nil {
				broken = true
				r.problem(role, at, err.Error(), right)
				continue
			}
			key = k
		}
	}
	if keys == 0 && !broken {
		wrong := "has no private key"
		if held != "" {
			wrong += ", but " + held
		}
		r.problem(role, role.file.path, wrong, right)
	}
	return key
}

// matching reports a problem unless private is the key of the first certificate.
func (r *pemReader) matching(certificate, key *pemRole, chain []chainLink, private crypto.Signer) {
	if samePublic(private, chain[0]) {
		return
	}
	for _, other := range chain[1:] {
		if samePublic(private, other) {
			r.problem(certificate, chain[0].at, fmt.Sprintf("comes first, but the certificate of tls.key is that of block %d", other.number), "put the server's certificate first, and each certificate's issuer behind it")
			return
		}
	}
	r.problems = append(r.problems, r.cfg.Problem(key.key, fmt.Sprintf("does not belong to tls.certificate: %s has another key than %s", key.file.path, chain[0].at),
		"name the private key that the certificate was made with"))
}

func samePublic(private crypto.Signer, link chainLink) bool {
	public, ok := private.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(link.PublicKey)
}

// authorities returns the certificates of tls.client_ca.
func (r *pemReader) authorities(file *pemFile) *x509.CertPool {
	role := &pemRole{key: "tls.client_ca", file: file}
	r.faults(role, func(string) bool { return true })
	links := r.certificates(role, false)
	pool := x509.NewCertPool()
	for _, c := range links {
		pool.AddCert(c.Certificate)
		if why := unusable(c.Certificate, minSignerBits); why != "" {
			r.problem(role, c.at, why, usableKey)
			continue
		}
		switch {
		case !isAuthority(c.Certificate):
			r.warn(role, c.at, "is not a certificate authority (basicConstraints), so only this certificate itself is accepted from a client", "put the certificate of the authority that signs client certificates there")
		case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
			r.warn(role, c.at, "may not sign certificates (keyUsage without keyCertSign), so no client that it signed is accepted", "issue it again with keyCertSign")
		}
	}
	r.dates(role, links)
	return pool
}

// trimmed returns the text of an error of crypto/x509 or crypto/rsa on one line.
func trimmed(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "x509: "), "crypto/rsa: ")
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
	text, _, _ = strings.Cut(text, " (use ") // the name of a Go function for another format
	return text[:min(len(text), 200)]
}

// name returns the quoted name of a certificate's subject or issuer.
func name(n pkix.Name) string { return quoted(n.String()) }
