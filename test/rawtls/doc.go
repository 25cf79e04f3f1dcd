// Package rawtls is a TLS 1.3 client for tests that says what no library says:
// any record at any time, genuine or not. crypto/tls does the handshake; from
// there on the test makes each record itself, and sees each one that comes.
//
// It knows AES-GCM, and is no client for anything else than tests.
package rawtls
