// Package clients tests the daemon with update clients from Debian, over loopback:
//
//	go test -tags clients ./test/clients
//
// The tests need the packages that test/packages installs, and take some seconds. Emulated boards
// and TLS are tested elsewhere (test/board). To debug, read the daemon's log, which a failing test
// prints.
package clients
