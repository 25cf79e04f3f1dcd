// Package clients has update clients of Debian download from the daemon over loopback:
// `go test -tags clients ./test/clients`. They need packages that test/packages installs, and
// take some seconds.
package clients
