package service

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

func isCertificateLabel(label string) bool {
	return label == "CERTIFICATE" || label == "X509 CERTIFICATE"
}

func isKeyLabel(label string) bool { return strings.HasSuffix(label, "PRIVATE KEY") }

// harmless reports whether a block can be ignored: openssl writes the curve before a key, and
// some servers read Diffie-Hellman parameters from the file.
func harmless(label string) bool { return strings.HasSuffix(label, "PARAMETERS") }

// A remedy is the corrective action for a block of an unexpected type.
type remedy string

func (r remedy) orElse(right string) string {
	if r == "" {
		return right
	}
	return string(r)
}

var remedies = map[string]remedy{
	"CERTIFICATE REQUEST":     "have an authority sign it, and put the certificate there",
	"NEW CERTIFICATE REQUEST": "have an authority sign it, and put the certificate there",
	"TRUSTED CERTIFICATE":     "convert it with `openssl x509`",
	"PKCS7":                   "convert it with `openssl pkcs7 -print_certs`",
	"PKCS #7 SIGNED DATA":     "convert it with `openssl pkcs7 -print_certs`",
	"X509 CRL":                "remove it: lists of revoked certificates are not read",
}

// kindOf returns a noun phrase for a block of an unexpected type.
func kindOf(label string) string {
	switch label {
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return "a certificate request"
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return "a public key"
	case "TRUSTED CERTIFICATE":
		return "a certificate in OpenSSL's own format (TRUSTED CERTIFICATE)"
	case "PKCS7", "PKCS #7 SIGNED DATA", "CMS":
		return "a PKCS #7 container"
	case "X509 CRL":
		return "a list of revoked certificates"
	}
	return "of the unknown type " + quoted(label)
}

const usableKey = "use a key of ECDSA P-256, P-384 or P-521, of Ed25519, or of RSA with 2048 bits or more"

// unusable returns the reason why no client can use c, or "".
func unusable(c *x509.Certificate, bits int) string {
	if c.PublicKey == nil || c.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm || c.PublicKeyAlgorithm == x509.DSA {
		var info struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}
		asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info)
		return "has a key of " + algorithm(info.Algorithm.Algorithm) + ", which TLS clients cannot use"
	}
	return unusableKey(c.PublicKey, bits)
}

func unusableKey(public crypto.PublicKey, bits int) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < bits {
			return fmt.Sprintf("has an RSA key of %d bits, which is too short", n)
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return "has a key of ECDSA P-224, which TLS clients cannot use"
		}
	case ed25519.PublicKey:
	default:
		return fmt.Sprintf("has a key of the type %T, which TLS clients cannot use", public)
	}
	return ""
}

// algorithm returns the name of a public key algorithm.
func algorithm(oid asn1.ObjectIdentifier) string {
	names := map[string]string{
		"1.2.840.10040.4.1":     "DSA",
		"1.2.840.113549.1.1.10": "RSA-PSS",
		"1.3.101.110":           "X25519",
		"1.3.101.111":           "X448",
		"1.3.101.113":           "Ed448",
		"1.2.840.113549.1.3.1":  "Diffie-Hellman",
	}
	if name, ok := names[oid.String()]; ok {
		return name
	}
	return "the unknown type " + quoted(oid.String())
}

// parseKey parses a private key in any of the DER formats that openssl writes.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	ec, ecErr := x509.ParseECPrivateKey(der)
	if ecErr == nil {
		return ec, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if signer, ok := key.(crypto.Signer); ok && err == nil {
		return signer, nil
	}
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if _, bad := asn1.Unmarshal(der, &info); bad == nil {
		switch oid := info.Algorithm.Algorithm; {
		case err == nil, strings.Contains(err.Error(), "unknown algorithm"):
			return nil, errors.New("is a private key of " + algorithm(oid) + ", which TLS cannot use")
		}
	}
	if err == nil {
		return nil, errors.New("is a private key that TLS cannot use")
	}
	if strings.Contains(ecErr.Error(), "curve") { // the PKCS #8 error only says that it is another format
		err = ecErr
	}
	return nil, errors.New("cannot be parsed as a private key: " + trimmed(err))
}
