// Package rawtls is a TLS 1.3 client for tests that can send any record at any time, also records that
// no library sends. crypto/tls does the handshake; after that the test creates each record and receives
// each record of the server.
//
// It supports AES-GCM only, and is not for use outside tests. To debug: an error that starts with
// "rawtls: record of the server" means that the record could not be decrypted with the expected keys.
package rawtls
