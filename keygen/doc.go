// Package keygen makes a private key and a self-signed certificate, so that a
// board speaks HTTPS from its first boot.
//
// It is no authority and signs nothing else. A client that cannot check a
// self-signed certificate by its issuer checks its key: Result has the pin for
// curl and the fingerprint to compare by eye.
//
// # What is made
//
// An ECDSA key on P-256, which every TLS library has and a small processor is
// quick with, as PKCS #8; and an X.509 certificate for a TLS server, valid for
// 20 years. From 2050 on RFC 5280, section 4.1.2.5, writes dates in another form,
// and crypto/x509 does so.
//
// Many boards have no battery and boot in 1970, or at a random date. A clock
// before 2020 or after 2049 is taken to be wrong: the certificate is then valid
// from the beginning of 2020 to the end of 2049. Otherwise it is valid from a day
// ago, for clients whose clocks are behind.
//
// # Files
//
// Nothing is ever overwritten. Both files are on disk when Create returns, or
// neither is left. The power may be cut at any time: each file is written under a
// temporary name and gets its own when it is on disk, the key first. The next Create
// finishes, as it does after a version that wrote a file in place:
//
//	key      certificate            Create
//	whole    missing or torn        makes a certificate for that key
//	missing  missing or torn        makes both
//	torn     missing, torn or ours  makes both
//
// Torn is a file that is empty, or that begins as a PEM file of its kind and has no
// end. It is kept as NAME.broken-1, -2 and so on, and so is a certificate of ours whose
// key is torn. Everything else is an error, and stays as it is: a whole pair, a
// key in another format or encrypted, a certificate that Create did not make
// without its key, and a certificate that Create made if there is no key at all, since
// the key may be elsewhere, as a systemd credential.
//
// # Debugging
//
//	openssl x509 -in cert.pem -noout -text -fingerprint -sha256
package keygen
