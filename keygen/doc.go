// Package keygen generates a private key and a self-signed certificate, so that a
// board serves HTTPS from its first boot.
//
// It is not a certificate authority and does not sign other certificates. A client cannot
// verify a self-signed certificate by its issuer, but can verify its key: Result has the pin
// for curl, and the fingerprint for comparison by a person.
//
// # Key and certificate
//
// The key is an ECDSA P-256 key in PKCS #8; every TLS library supports P-256, and it is fast
// on a small processor. The certificate is an X.509 certificate for a TLS server, valid for
// 20 years. From 2050 on RFC 5280, section 4.1.2.5, encodes dates in another form, and
// crypto/x509 does so.
//
// Many boards have no battery-backed clock and boot in 1970, or at a random date. A clock
// before 2020 or after 2049 is taken to be wrong: the certificate is then valid
// from the beginning of 2020 to the end of 2049. Otherwise its validity begins one day
// before now, for clients whose clocks are slow.
//
// # Files
//
// Create never overwrites a file. Both files are on disk when Create returns, or
// neither is left. Power may fail at any time: each file is written under a
// temporary name, synced and then renamed, the key first. The next Create
// completes an interrupted run, also of a version that wrote a file in place:
//
//	key      certificate            Create
//	whole    missing or torn        makes a certificate for that key
//	missing  missing or torn        makes both
//	torn     missing, torn or ours  makes both
//
// A torn file is empty, or begins as a PEM file of its type and has no END line. It is kept
// as NAME.broken-1, -2 and so on, and so is a certificate made by Create whose
// key is torn. Every other combination is an error, and the files stay unchanged: a complete
// pair, a key in another format or encrypted, a certificate not made by Create whose key is
// missing or torn, and a certificate made by Create if there is no key file, since
// the key may be elsewhere, for example a systemd credential.
//
// # Debugging
//
//	openssl x509 -in cert.pem -noout -text -fingerprint -sha256
package keygen
