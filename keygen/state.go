package keygen

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// maxBytes is the largest size of a file that is read.
const maxBytes = 1 << 20

// condition is the state of a file.
type condition int

const (
	missing condition = iota
	torn              // empty, or the beginning of a PEM block: a write was interrupted
	whole             // it parses
	foreign           // any other content: not from keygen
)

// present is the state of the files in a directory.
type present struct {
	key, certificate condition
	signer           crypto.Signer     // if key is whole
	leaf             *x509.Certificate // if certificate is whole
	reasons          error             // why files are foreign
}

// inspect reads both files and returns their state.
func inspect(key, certificate string) (present, error) {
	var p present
	for _, f := range []struct {
		path      string
		condition *condition
		labels    []string
		parse     func(data []byte) error
	}{
		{key, &p.key, []string{"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"}, func(data []byte) (err error) {
			p.signer, err = parseKey(data)
			return err
		}},
		{certificate, &p.certificate, []string{"CERTIFICATE"}, func(data []byte) (err error) {
			p.leaf, err = parseCertificate(data)
			return err
		}},
	} {
		data, link, err := readFile(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !link:
			*f.condition = missing
			continue
		case err != nil && !errors.Is(err, errKind) && !link:
			return present{}, err
		case err == nil:
			if err = f.parse(data); err == nil {
				*f.condition = whole
				continue
			}
			if !link && isTorn(data, f.labels) {
				*f.condition = torn
				continue
			}
		}
		*f.condition = foreign
		p.reasons = errors.Join(p.reasons, fmt.Errorf("%s: %w: %w", f.path, fs.ErrExist, err))
	}
	return p, nil
}

var errKind = errors.New("it is not a regular file of at most 1 MiB")

// readFile reads a regular file, and reports whether path is a symbolic link to it.
func readFile(path string) (data []byte, link bool, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, false, err
	}
	if link = info.Mode()&fs.ModeSymlink != 0; link {
		if info, err = os.Stat(path); err != nil {
			return nil, true, err
		}
	}
	if !info.Mode().IsRegular() || info.Size() > maxBytes {
		return nil, link, errKind
	}
	data, err = os.ReadFile(path)
	return data, link, err
}

// isTorn reports whether data can be the result of an interrupted write: the beginning of a
// PEM block with one of labels, without its end. Bytes that were not written to disk are
// missing or, on some file systems, zero.
func isTorn(data []byte, labels []string) bool {
	text := bytes.TrimRight(data, "\x00")
	if len(bytes.TrimSpace(text)) == 0 {
		return true
	}
	if block, _ := pem.Decode(text); block != nil || bytes.Contains(text, []byte("ENCRYPTED")) || slices.ContainsFunc(text, isBinary) {
		return false
	}
	return slices.ContainsFunc(labels, func(label string) bool {
		begin := "-----BEGIN " + label + "-----\n"
		return strings.HasPrefix(begin, string(text)) || strings.HasPrefix(string(text), begin)
	})
}

func isBinary(b byte) bool { return b != '\n' && b != '\r' && (b < ' ' || b > '~') }

// parseKey returns the first private key of a PEM file, like crypto/tls.
func parseKey(data []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errors.New("it is not a complete, unencrypted private key in PEM")
		}
		if block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("its private key is encrypted")
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New("its private key is of an unknown type")
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, errors.New("its private key cannot sign")
		}
		return signer, nil
	}
}

// parseCertificate returns the first certificate of a PEM file. It returns an error if a later
// PEM block is truncated.
func parseCertificate(data []byte) (leaf *x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(data)
		switch {
		case block == nil && leaf == nil:
			return nil, errors.New("it is not a complete certificate in PEM")
		case block == nil && bytes.Contains(data, []byte("-----BEGIN")):
			return nil, errors.New("its last PEM block has no END line")
		case block == nil:
			return leaf, nil
		}
		if data = rest; block.Type == "CERTIFICATE" && leaf == nil {
			if leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, err
			}
		}
	}
}

// isPair reports whether both files are whole and the certificate belongs to the key.
func (p present) isPair() bool {
	if p.key != whole || p.certificate != whole {
		return false
	}
	public, ok := p.leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(p.signer.Public())
}

// isOwn reports whether selfSign has made c, for a key made by Create.
func isOwn(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	return ok && key.Curve == elliptic.P256() &&
		bytes.Equal(c.RawIssuer, c.RawSubject) && c.Subject.String() == "CN="+c.Subject.CommonName &&
		c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil &&
		c.BasicConstraintsValid && !c.IsCA && c.KeyUsage == x509.KeyUsageDigitalSignature &&
		slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) && len(c.UnknownExtKeyUsage) == 0 &&
		hasOwnValidity(c)
}

func hasOwnValidity(c *x509.Certificate) bool {
	from, to := c.NotBefore.UTC(), c.NotAfter.UTC()
	wantFrom, wantTo := validity(time.Unix(0, 0)) // with a wrong clock
	if from.Equal(wantFrom) && to.Equal(wantTo) {
		return true
	}
	wantFrom, wantTo = validity(from.Add(24 * time.Hour))
	return from.Equal(wantFrom) && to.Equal(wantTo) || from.Year() == firstYear && to.Before(from.AddDate(validYears, 0, 2))
}

// needed returns nil if p lacks a file that keygen may make. Otherwise the error names the file
// that prevents it.
func (p present) needed(key, certificate string) error {
	const nothing = "nothing is overwritten"
	switch {
	case p.key == foreign || p.certificate == foreign:
		return fmt.Errorf("%w; repair it, or move both files away first: %s", p.reasons, nothing)
	case p.isPair():
		return fmt.Errorf("%s and %s: %w; use them, or move both away first: %s", key, certificate, fs.ErrExist, nothing)
	case p.key == whole && p.certificate == whole:
		return fmt.Errorf("%s: %w, and does not belong to %s; restore the right one, or move both away first: %s", certificate, fs.ErrExist, key, nothing)
	case p.key == missing && p.certificate == whole:
		return fmt.Errorf("%s: %w, without its key, and is not overwritten; move it away first", certificate, fs.ErrExist)
	case p.key == torn && p.certificate == whole && !isOwn(p.leaf):
		return fmt.Errorf("%s: %w, and its key %s is damaged; restore that key, or move both away first: %s", certificate, fs.ErrExist, key, nothing)
	}
	return nil
}
