package keygen

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"time"
)

const (
	keyName         = "key.pem"
	certificateName = "cert.pem"

	validYears = 20

	// A clock outside these years is taken to be wrong, see the package comment.
	firstYear, lastYear = 2020, 2049
)

// Result describes the files that Create wrote.
type Result struct {
	Certificate string   // path of the PEM file
	Key         string   // path of the PEM file
	Fingerprint string   // SHA-256 of the certificate's DER, as AB:CD:...
	Pin         string   // of the public key, for curl --pinnedpubkey: sha256//BASE64
	Kept        []string // new paths of damaged files that were moved aside
	Notes       []string // notes about names, for a person
}

// Create writes a new key to dir/key.pem (mode 0600) and a certificate for it to
// dir/cert.pem (0644). It makes dir (0755) if its parent exists.
//
// Create repairs the files of an interrupted run: it makes a new certificate for a complete
// key if the certificate is missing or damaged, and replaces a damaged key. A damaged file is
// kept under another name. Create does not change any other file and returns an error that
// wraps [fs.ErrExist] for a complete pair, and for a key or certificate from another source.
//
// names are the host names and IP addresses that clients will connect to. If there are none,
// the names are this machine's host name, the host name under .local, localhost, 127.0.0.1,
// ::1, and the current addresses of its interfaces except link-local addresses. now is
// this machine's time.
//
// An error contains the corrective action; after an error no new files are left.
func Create(dir string, names []string, now time.Time) (Result, error) {
	result, err := create(&directory{path: dir}, names, now)
	if err != nil {
		return Result{}, fmt.Errorf("keygen: %w", err)
	}
	return result, nil
}

// Needed returns nil if Create would make a key or a certificate in dir, as far as that
// can be determined without writing. Otherwise the error has the reason.
func Needed(dir string) error {
	key, certificate := filepath.Join(dir, keyName), filepath.Join(dir, certificateName)
	p, err := inspect(key, certificate)
	if err == nil {
		err = p.needed(key, certificate)
	}
	if err != nil {
		return fmt.Errorf("keygen: %w", err)
	}
	return nil
}

func create(d *directory, names []string, now time.Time) (result Result, err error) {
	if d.path == "" {
		return Result{}, fmt.Errorf("no directory is given; name the directory for %s and %s", keyName, certificateName)
	}
	var notes []string
	if len(names) == 0 {
		names, notes = defaultNames(thisMachine())
	}
	hosts, err := parseNames(names)
	if err != nil {
		return Result{}, err
	}
	err = d.open()
	if err == nil {
		result, err = d.complete(hosts, now)
		result.Notes = append(notes, hosts.underscored()...)
	}
	d.close(err)
	return result, err
}

// complete makes the missing and damaged files of the directory.
func (d *directory) complete(hosts hosts, now time.Time) (Result, error) {
	if err := d.clean(); err != nil {
		return Result{}, err
	}
	result := Result{Certificate: filepath.Join(d.path, certificateName), Key: filepath.Join(d.path, keyName)}
	p, err := inspect(result.Key, result.Certificate)
	if err != nil {
		return Result{}, advise(err)
	}
	if err := p.needed(result.Key, result.Certificate); err != nil {
		return Result{}, err
	}
	var files []file
	key := p.signer
	if p.key != whole {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return Result{}, fmt.Errorf("cannot generate the key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(made)
		if err != nil {
			return Result{}, fmt.Errorf("cannot encode the key: %w", err)
		}
		key = made
		files = append(files, file{result.Key, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})})
	}
	publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Result{}, fmt.Errorf("cannot encode the public key: %w", err)
	}
	certificateDER, err := selfSign(key, hosts, now)
	if err != nil {
		return Result{}, fmt.Errorf("cannot create the certificate: %w", err)
	}
	result.Fingerprint, result.Pin = fingerprint(certificateDER), pin(publicDER)
	files = append(files, file{result.Certificate, 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificateDER})})

	var damaged []string
	if p.certificate != missing {
		damaged = append(damaged, result.Certificate)
	}
	if p.key == torn {
		damaged = append(damaged, result.Key)
	}
	result.Kept, err = d.replace(damaged, files)
	return result, err
}

// selfSign returns the certificate in DER.
func selfSign(key crypto.Signer, hosts hosts, now time.Time) ([]byte, error) {
	// RFC 5280, section 4.1.2.2: positive, at most 20 bytes.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	notBefore, notAfter := validity(now)
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: hosts.commonName()},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		DNSNames:              hosts.dns,
		IPAddresses:           hosts.ip,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, // with IsCA false
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// validity returns the validity period of a certificate made now.
func validity(now time.Time) (notBefore, notAfter time.Time) {
	earliest := time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)
	now = now.UTC().Truncate(time.Second)
	if now.Before(earliest) || now.Year() > lastYear {
		return earliest, time.Date(lastYear, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	notBefore = now.Add(-24 * time.Hour)
	if notBefore.Before(earliest) {
		notBefore = earliest
	}
	return notBefore, now.AddDate(validYears, 0, 0)
}

// fingerprint returns the SHA-256 of der in the format of openssl.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// pin returns the SHA-256 of a public key's DER in the format of curl --pinnedpubkey.
func pin(publicDER []byte) string {
	sum := sha256.Sum256(publicDER)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
}
